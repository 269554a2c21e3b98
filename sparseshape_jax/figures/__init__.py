"""Figures, one module for each kind; all are drawn in one style and written in one way."""
