"""Top-K sparse activations: the options, the operator, its specification, and where a network applies it."""
