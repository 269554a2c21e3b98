"""Which frequencies of images a network needs: spectra, filters, groups of frequencies, and what removing them costs.

>>> from sparseshape_jax import frequency
>>> groups = frequency.groups(32, patch=1)
>>> losses = frequency.image_losses(network, images, labels, groups)  # (N, groups)
>>> mask = frequency.dominant(losses.mean(axis=0), groups, 0.05)
>>> filtered = frequency.keep(images, mask)

Source: Wang et al., "What do neural networks learn in image classification? A frequency shortcut perspective", ICCV
2023, and its code. Maps are *shifted*, as `numpy.fft.fftshift` leaves them: entry (i, j) of an S×S map is frequency
(i - S//2, j - S//2), rows first. Images are square, NHWC, and normalized as the network wants them.
"""

from sparseshape_jax.frequency.bands import band_filters, bands
from sparseshape_jax.frequency.controls import control_masks
from sparseshape_jax.frequency.dominant import Rates, dominant, expected_misses, intersection_over_union, rates
from sparseshape_jax.frequency.groups import Groups, default_patch, groups
from sparseshape_jax.frequency.losses import image_losses
from sparseshape_jax.frequency.spectrum import adcs, amplitude, keep, partners, radius, remove, spectrum

__all__ = [
    "Groups",
    "Rates",
    "adcs",
    "amplitude",
    "band_filters",
    "bands",
    "control_masks",
    "default_patch",
    "dominant",
    "expected_misses",
    "groups",
    "image_losses",
    "intersection_over_union",
    "keep",
    "partners",
    "radius",
    "rates",
    "remove",
    "spectrum",
]
