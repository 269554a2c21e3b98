"""Published weights: the catalog, fetching and reading files (without torch), and filling networks with them.

`load.load` returns a network that is ready to use. `python -m sparseshape_jax.weights --help` lists the commands.
Nothing is imported here, so that the catalog and the cache can be used without starting JAX.
"""
