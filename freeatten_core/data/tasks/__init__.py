"""Synthetic tasks: sequences that ask for something, and what they answer."""
