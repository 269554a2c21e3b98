"""Style transfer that needs one pass: photographs in the style of other images."""
