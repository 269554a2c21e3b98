"""L-BFGS on the reference's own objectives, from its own start, against what `torch.optim.LBFGS` reached there."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sparseshape_jax.placement import TopK
from sparseshape_jax.synthesis import objective, pixels
from sparseshape_jax.synthesis.lbfgs import lbfgs
from sparseshape_jax.synthesis.minimise import minimise
from sparseshape_jax.synthesis.pixels import Parameterisation

REFERENCE, OURS = Parameterisation("sigmoid", 0), Parameterisation("sigmoid", 0.5)
LAYERS = ("relu1_1", "pool1", "pool2", "pool3", "pool4")


@pytest.mark.slow
@pytest.mark.parametrize("case", ["texture.top.1.0", "texture.rest.0.05", "reconstruction.top.0.05"])
@pytest.mark.parametrize("parameterisation", [REFERENCE, OURS], ids=["reference", "whitened"])
def test_no_worse_than_torch_after_as_many_evaluations(vgg_trunk, reference_data, case, parameterisation):
    kind, keep_name, fraction = case.split(".", 2)
    torch_reached = json.loads((reference_data / "goldens" / "lbfgs_reference.json").read_text())[case]
    golden = np.load(reference_data / "goldens" / "synthesis_objective_reference.npz")
    terms, top_k = objective.terms_for(kind, LAYERS), TopK(float(fraction))
    keep = jnp.asarray([objective.KEEPS.index(keep_name)])
    target = vgg_trunk.preprocessing.normalise(jnp.asarray(golden["target_rgb"])[None])
    low, high = pixels.value_range(target)
    start = parameterisation.to_params(jnp.asarray(golden["noise_normalised"])[None], low, high)
    graphdef, state = nnx.split(vgg_trunk.model)
    statistics = jax.jit(
        lambda state: objective.target_statistics(nnx.merge(graphdef, state, copy=True), target, terms, top_k, keep)
    )(state)

    def losses(params, statistics, scale, state):
        network = nnx.merge(graphdef, state, copy=True)
        image = parameterisation.to_normalised(params, low, high)
        return objective.term_losses(network, image, statistics, terms, top_k, keep).sum(axis=1) / scale

    first = float(jax.jit(losses)(start, statistics, 1.0, state)[0])
    assert first == pytest.approx(torch_reached["first_loss"], rel=1e-3)
    result = minimise(
        objective.per_image_value_and_grad(losses), start, steps=200, optimiser=lbfgs(), args=(statistics, first, state)
    )
    best = np.fmin.accumulate(result.losses[0]) * first
    for evaluations in (50, 100, 200):
        assert best[evaluations - 1] <= 1.1 * torch_reached["loss_after_evaluations"][str(evaluations)], evaluations
