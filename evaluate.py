"""Measure what classifiers see: shape bias on cue-conflict stimuli, accuracy on folders of images."""

from sparseshape_jax.classification.accuracy import Accuracy
from sparseshape_jax.classification.sweep import Sweep
from sparseshape_jax.cli import Job, main
from sparseshape_jax.shape_bias.job import ShapeBias

JOBS = {
    "shape-bias": Job(
        ShapeBias,
        "sparseshape_jax.shape_bias.job:run",
        examples="evaluate.py shape-bias --stimuli cue-conflict --fractions [1.0,0.2] --topk.after [pool1,pool3]",
    ),
    "accuracy": Job(
        Accuracy,
        "sparseshape_jax.classification.accuracy:run",
        examples="evaluate.py accuracy --data imagenet/val --model resnet50 --fractions [1.0,0.2]",
    ),
    "sweep": Job(
        Sweep,
        "sparseshape_jax.classification.sweep:run",
        examples="evaluate.py sweep --stimuli cue-conflict --placements pool1 pool1+pool3 --fractions [0.2,0.1]",
    ),
}

if __name__ == "__main__":
    raise SystemExit(main(__doc__ or "", JOBS))
