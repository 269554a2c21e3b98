"""Measure what classifiers see: shape bias, accuracy, likeness to people, and more; and report what was measured."""

from sparseshape_jax.cli import Job, Jobs
from sparseshape_jax.evaluation.config import AccuracyConfig, OodConfig, ShapeBiasConfig, SweepConfig
from sparseshape_jax.evaluation.frequency.config import (
    AdcsConfig,
    BandsConfig,
    CompareConfig,
    DfmConfig,
    FilteredTestConfig,
)
from sparseshape_jax.evaluation.local_global_config import LocalGlobalConfig, RelevanceConfig
from sparseshape_jax.few_shot.config import GeneratorFidConfig
from sparseshape_jax.jobs.reproduce.config import ReproduceConfig
from sparseshape_jax.report.config import ReportConfig

JOBS: Jobs = {
    "shape-bias": Job(
        ShapeBiasConfig,
        "sparseshape_jax.evaluation.shape_bias:run",
        examples="--stimuli cue-conflict --fractions [1.0,0.2] --topk.after [pool1,pool3]",
    ),
    "accuracy": Job(
        AccuracyConfig,
        "sparseshape_jax.evaluation.accuracy:run",
        examples="--data imagenet/val --model resnet50 --fractions [1.0,0.2]",
    ),
    "sweep": Job(
        SweepConfig,
        "sparseshape_jax.evaluation.sweep:run",
        examples="--stimuli cue-conflict --placements pool1 pool1+pool3 --fractions [0.2,0.1]",
    ),
    "ood": Job(
        OodConfig,
        "sparseshape_jax.evaluation.ood:run",
        examples="--data my-sets --sets edge silhouette --records human-records",
    ),
    "local-global": Job(
        LocalGlobalConfig,
        "sparseshape_jax.evaluation.local_global:run",
        examples="--data photos --fractions [1.0,0.2] --per_class 3",
    ),
    "relevance": Job(
        RelevanceConfig,
        "sparseshape_jax.evaluation.relevance:run",
        examples="--data photos --fractions [1.0,0.2] --composite.name epsilon_plus_flat",
    ),
    "report": Job(
        ReportConfig,
        "sparseshape_jax.report.job:run",
        examples="results --out report",
    ),
    "reproduce": Job(
        ReproduceConfig,
        "sparseshape_jax.jobs.reproduce.job:run",
        examples="--preset cpu --stimuli cue-conflict --data photos --cifar10 cifar10 --dry_run",
    ),
    "fid": Job(
        GeneratorFidConfig,
        "sparseshape_jax.few_shot.sources:run",
        examples="--fake samples run weights.pth --real photos --features vgg16",
    ),
    "frequency": {
        "adcs": Job(
            AdcsConfig,
            "sparseshape_jax.evaluation.frequency.adcs:run",
            examples="--data cifar10/test --size 32",
        ),
        "dfm": Job(
            DfmConfig,
            "sparseshape_jax.evaluation.frequency.dfm:run",
            examples="--data cifar10/test --weights run --select even",
        ),
        "test": Job(
            FilteredTestConfig,
            "sparseshape_jax.evaluation.frequency.filtered_test:run",
            examples="--data cifar10/test --weights run --masks DIR --select odd",
        ),
        "bands": Job(
            BandsConfig,
            "sparseshape_jax.evaluation.frequency.bands:run",
            examples="--data cifar10/test --weights run",
        ),
        "compare": Job(
            CompareConfig,
            "sparseshape_jax.evaluation.frequency.compare:run",
            examples="--runs dense topk",
        ),
    },
}
