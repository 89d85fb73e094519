"""What is measured of models: loss by length, retrieval, heads, ablation."""
