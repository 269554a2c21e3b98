"""One page of evidence from any number of result folders, with published numbers next to ours."""
