"""Stored results, drawn: one module a kind of result."""
