"""One module a tab of the page: what it asks and what it shows."""
