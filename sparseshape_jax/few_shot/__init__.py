"""Training FastGAN on few photographs, with Top-K inside its generator."""
