"""What every attention is, in float64: the specification."""
