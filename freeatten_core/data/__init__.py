"""Texts and tokens: what is trained on, what is evaluated, and that they differ."""
