"""Every experiment of the five sources, one after the other: `evaluate.py reproduce`."""
