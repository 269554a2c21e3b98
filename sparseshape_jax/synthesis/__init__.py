"""Images from activations: textures, reconstructions, and the figure that sets them side by side."""
