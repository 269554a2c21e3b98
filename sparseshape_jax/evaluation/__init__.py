"""What `evaluate.py` measures, one module for each job."""
