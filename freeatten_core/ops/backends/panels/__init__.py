"""Attention in panels: any device, any type."""
