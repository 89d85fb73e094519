"""The static site: the same pages without a server."""
