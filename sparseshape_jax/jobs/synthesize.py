"""Make images from activations: textures, reconstructions, and the figure that compares all, Top-K and non-Top-K."""

from sparseshape_jax.cli import Job, Jobs
from sparseshape_jax.few_shot.config import SampleConfig
from sparseshape_jax.stimuli.config import BandSetsConfig, StimuliConfig
from sparseshape_jax.stylize.config import StylesConfig, StylizeConfig
from sparseshape_jax.synthesis.config import FigureConfig, ReconstructConfig, TextureConfig
from sparseshape_jax.synthesis.cue_conflict.config import CueConflictConfig

JOBS: Jobs = {
    "texture": Job(
        TextureConfig,
        "sparseshape_jax.synthesis.jobs:texture",
        examples="--images photo.jpg --topk.keep rest --seeds [0,1]",
    ),
    "reconstruct": Job(
        ReconstructConfig,
        "sparseshape_jax.synthesis.jobs:reconstruct",
        examples="--images photos --topk.fraction 0.05 --snapshots 5",
    ),
    "figure": Job(
        FigureConfig,
        "sparseshape_jax.synthesis.jobs:figure",
        examples="--images photo.jpg",
    ),
    "cue-conflict": Job(
        CueConflictConfig,
        "sparseshape_jax.synthesis.cue_conflict.job:run",
        examples="--content photographs --style textures --per_pair 1 --out cue-conflicts",
    ),
    "stimuli": Job(
        StimuliConfig,
        "sparseshape_jax.stimuli.write:run",
        examples="--images cifar10/test --sets shuffled --conditions 4 --out cifar10_shuffled",
    ),
    "band-sets": Job(
        BandSetsConfig,
        "sparseshape_jax.stimuli.band_sets:run",
        examples="--out syn",
    ),
    "stylize": Job(
        StylizeConfig,
        "sparseshape_jax.stylize.job:run",
        examples="--content photos --out stylized",
    ),
    "styles": Job(
        StylesConfig,
        "sparseshape_jax.stylize.write_styles:run",
        examples="--count 24 --out my-styles",
    ),
    "sample": Job(
        SampleConfig,
        "sparseshape_jax.few_shot.sample:run",
        examples="--weights results/few-shot/tiny --count 64 --nearest jeep",
    ),
}
