"""Shipped checkpoints and stored results, installed as `freeatten_assets`."""
