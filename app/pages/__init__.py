"""The pages' own files, and how they are put together."""
