"""Minimizing a batch of images: L-BFGS with one evaluation per update, Adam, and the class that runs them.

Depends on no other part of the package but its exception for bad input.
"""
