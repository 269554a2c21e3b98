"""Training classifiers with Top-K inside."""
