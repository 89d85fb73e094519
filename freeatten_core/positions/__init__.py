"""How a model knows order."""
