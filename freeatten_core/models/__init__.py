"""The language model, its checkpoints, and the rows that are compared."""
