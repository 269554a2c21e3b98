"""Human and network observers of an experiment: categories, decisions, records, scores, consistency. NumPy only."""
