"""Published weights: which there are, fetching and reading their files (no torch needed), filling a network with them.

`load` gives a network ready to use; `python -m sparseshape_jax.weights --help` is the same from a shell. Nothing is
imported here, so that the catalogue and the cache can be used without starting JAX.
"""
