"""Make images from activations: textures, reconstructions, and the figure that compares all, Top-K and non-Top-K."""

from sparseshape_jax.cli import Job, main
from sparseshape_jax.synthesis.job import Figure, Reconstruct, Texture

JOBS = {
    "texture": Job(
        Texture,
        "sparseshape_jax.synthesis.job:texture",
        examples="synthesize.py texture --images photo.jpg --topk.keep rest --seeds [0,1]",
    ),
    "reconstruct": Job(
        Reconstruct,
        "sparseshape_jax.synthesis.job:reconstruct",
        examples="synthesize.py reconstruct --images photos --topk.fraction 0.05 --snapshots 5",
    ),
    "figure": Job(
        Figure,
        "sparseshape_jax.synthesis.job:figure",
        examples="synthesize.py figure --images photo.jpg",
    ),
}

if __name__ == "__main__":
    raise SystemExit(main(__doc__ or "", JOBS))
