"""Images made from activations: textures and reconstructions."""
