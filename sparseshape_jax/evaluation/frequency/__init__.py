"""The jobs of `evaluate.py frequency`: one module each, and what they share."""
