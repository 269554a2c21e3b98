"""Shape bias from sparse activations, in JAX."""
