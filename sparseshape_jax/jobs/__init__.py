"""Every job by name: one module for each script. They import settings only, so that `--help` answers at once."""
