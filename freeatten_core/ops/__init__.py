"""Attention: the operator, its definitions, and the back-ends that compute it."""
