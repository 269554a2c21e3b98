"""Sets of images made for experiments: how they are laid out, and the transforms that make them."""
