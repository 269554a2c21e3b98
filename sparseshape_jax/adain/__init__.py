"""Training the decoder of adaptive instance normalization."""
