"""Stored results, read and worded: nothing is measured here."""
