"""FastGAN in PyTorch at 64 and 256 pixels, for benchmarks: the networks and one iteration in the reference's order.

The layers are those of `sparseshape_jax.models.fastgan`, which the tests compare with the authors' own values; here
only the work counts. The weights are torch's own, and LPIPS has random ones.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import spectral_norm
from torch_reference import import_torchvision, torch_top_k

MULTIPLES = {4: 16, 8: 8, 16: 4, 32: 2, 64: 2, 128: 1, 256: 0.5}
DOWN = {8: 16, 16: 8, 32: 4, 64: 2, 128: 1, 256: 0.5, 512: 0.25}
"""Channels of the discriminator's maps: at 256 pixels the stem has those of 512, its outputs those of twice a side."""
LAYERS = (3, 8, 15, 22, 29)
"""Of torchvision's VGG16: what LPIPS compares."""


def conv(inputs: int, outputs: int, taps: int, stride: int = 1, padding: int = 0) -> nn.Module:
    return spectral_norm(nn.Conv2d(inputs, outputs, taps, stride, padding, bias=False))


def up(inputs: int, outputs: int) -> nn.Sequential:
    block = conv(inputs, 2 * outputs, 3, padding=1)
    return nn.Sequential(nn.Upsample(scale_factor=2), block, nn.BatchNorm2d(2 * outputs), nn.GLU(dim=1))


def down(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(conv(inputs, outputs, 4, 2, 1), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2))


class Excite(nn.Module):
    """Skip-layer excitation without its sigmoid."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.AdaptiveAvgPool2d(4), conv(inputs, outputs, 4), nn.SiLU(), conv(outputs, outputs, 1)
        )

    def forward(self, small: torch.Tensor, big: torch.Tensor) -> torch.Tensor:
        return big * self.main(small)


class Generator(nn.Module):
    """From (N, nz) to images and small ones, NCHW."""

    def __init__(self, size: int, ngf: int, nz: int, fraction: float) -> None:
        super().__init__()
        self.fraction, self.sides = fraction, [side for side in MULTIPLES if side <= size]
        width = {side: int(MULTIPLES[side] * ngf) for side in self.sides}
        first = spectral_norm(nn.ConvTranspose2d(nz, 2 * width[4], 4, bias=False))
        self.first = nn.Sequential(first, nn.BatchNorm2d(2 * width[4]), nn.GLU(dim=1))
        self.ups, self.excitations = nn.ModuleDict(), nn.ModuleDict()
        for before, side in pairwise(self.sides):
            block = up(width[before], width[side])
            if side in (8, 32, 128):
                more = conv(width[side], 2 * width[side], 3, padding=1)
                block.extend([more, nn.BatchNorm2d(2 * width[side]), nn.GLU(dim=1)])
            self.ups[str(side)] = block
            if side >= 64:
                self.excitations[str(side)] = Excite(width[side // 16], width[side])
        self.small = min(128, size // 2)
        self.to_small, self.to_big = conv(width[self.small], 3, 1), conv(width[size], 3, 3, padding=1)

    def forward(self, z: torch.Tensor) -> list[torch.Tensor]:
        maps = {4: self.first(z[:, :, None, None])}
        for side in self.sides[1:]:
            x = self.ups[str(side)](maps[side // 2])
            if side >= 64:
                x = self.excitations[str(side)](maps[side // 16], x)
            maps[side] = torch_top_k(x, self.fraction) if side == 32 and self.fraction < 1 else x
        return [self.to_big(maps[self.sides[-1]]), self.to_small(maps[self.small])]


class Down(nn.Module):
    """Half the size: the mean of two branches."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        more = (conv(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2))
        self.main = nn.Sequential(*down(inputs, outputs), *more)
        self.direct = nn.Sequential(
            nn.AvgPool2d(2), conv(inputs, outputs, 1), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.main(x) + self.direct(x)) / 2


class Decoder(nn.Sequential):
    """Reconstructions."""

    def __init__(self, inputs: int, width: int, side: int) -> None:
        blocks: list[nn.Module] = []
        for multiple in (4, 2, 2, 1)[: (side // 8).bit_length() - 1]:
            blocks.append(up(inputs, multiple * width))
            inputs = multiple * width
        super().__init__(*blocks, conv(inputs, 3, 3, padding=1), nn.Tanh())


class Discriminator(nn.Module):
    """Logits, and the maps that are decoded; the quarter is always the first."""

    def __init__(self, size: int, ndf: int, decoder_width: int) -> None:
        super().__init__()
        width = {side: int(multiple * ndf) for side, multiple in DOWN.items()}
        self.small = min(128, size // 2)
        self.sides = [side for side in (256, 128, 64, 32, 16, 8) if side <= size]
        """Of the maps: the stem's, and those of the halving blocks."""
        self.stem = nn.Sequential(conv(3, width[2 * size], 3, padding=1), nn.LeakyReLU(0.2))
        self.downs = nn.ModuleDict({str(side): Down(width[4 * side], width[2 * side]) for side in self.sides[1:]})
        self.excitations = nn.ModuleDict(
            {str(side): Excite(width[16 * side], width[2 * side]) for side in (32, 16, 8) if 8 * side <= size}
        )
        last, final = width[16], width[8]
        self.rf_big = nn.Sequential(conv(last, final, 1), nn.BatchNorm2d(final), nn.LeakyReLU(0.2), conv(final, 1, 4))
        sides = [side for side in (256, 128, 64, 32) if side <= 2 * self.small]
        branch: list[nn.Module] = [conv(3, width[sides[0]], 4, 2, 1), nn.LeakyReLU(0.2)]
        for before, side in pairwise(sides):
            branch += down(width[before], width[side])
        self.branch, self.rf_small = nn.Sequential(*branch), conv(width[32], 1, 4)
        self.decoders = nn.ModuleList(
            Decoder(inputs, decoder_width, self.small) for inputs in (last, width[32], width[32])
        )

    def forward(self, big: torch.Tensor, small: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        maps = {self.sides[0]: self.stem(big)}
        for side in self.sides[1:]:
            x = self.downs[str(side)](maps[2 * side])
            maps[side] = self.excitations[str(side)](maps[8 * side], x) if str(side) in self.excitations else x
        last = self.branch(small)
        logits = torch.cat([self.rf_big(maps[8]), self.rf_small(last)])
        return logits, (maps[8], last, maps[16][:, :, :8, :8])

    def reconstruct(self, maps: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        return [decoder(x) for decoder, x in zip(self.decoders, maps, strict=True)]


class LPIPS(nn.Module):
    """The distance, with random weights; summed over the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = import_torchvision().models.vgg16().features.eval().requires_grad_(False)

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        found = []
        for index, layer in enumerate(self.trunk):
            x = layer(x)
            if index in LAYERS:
                found.append(x / ((x**2).sum(1, keepdim=True) + 1e-10).sqrt())
        return found

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        pairs = zip(self.features(x), self.features(y), strict=True)
        return sum(((one - other) ** 2).mean(1).mean((1, 2)).sum() for one, other in pairs)


def augment(x: torch.Tensor) -> torch.Tensor:
    """Color and translation."""
    n, _, height, width = x.shape

    def draw() -> torch.Tensor:
        return torch.rand(n, 1, 1, 1)

    x = x + draw() - 0.5
    mean = x.mean(1, keepdim=True)
    x = (x - mean) * 2 * draw() + mean
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * (draw() + 0.5) + mean
    most = int(height / 8 + 0.5)
    rows, columns = (
        (torch.arange(side)[None] + torch.randint(-most, most + 1, (n, 1)) + 1).clamp(0, side + 1)
        for side in (height, width)
    )
    padded = functional.pad(x, (1, 1, 1, 1)).permute(0, 2, 3, 1)
    return padded[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


class Iteration:
    """Calls of one iteration: the order of work of the authors' script."""

    def __init__(self, size: int, width: int, nz: int, batch: int, fraction: float) -> None:
        self.batch, self.nz = batch, nz
        self.generator, self.lpips = Generator(size, width, nz, fraction), LPIPS()
        self.discriminator = Discriminator(size, width, width)
        options: Any = {"lr": 2e-4, "betas": (0.5, 0.999)}
        self.optimizers = [
            torch.optim.Adam(network.parameters(), **options) for network in (self.generator, self.discriminator)
        ]
        self.average = [parameter.detach().clone() for parameter in self.generator.parameters()]

    def __call__(self, real: torch.Tensor) -> float:
        generator, discriminator, small = self.generator, self.discriminator, self.discriminator.small
        real = augment(real)
        fakes = [augment(each) for each in generator(torch.randn(self.batch, self.nz))]
        discriminator.zero_grad()
        shrunk = functional.interpolate(real, small)
        logits, maps = discriminator(real, shrunk)
        loss = functional.relu(torch.rand_like(logits) * 0.2 + 0.8 - logits).mean()
        half = real.shape[-1] // 2
        wanted = (shrunk, shrunk, functional.interpolate(real[:, :, :half, :half], small))
        found = discriminator.reconstruct(maps)
        loss = loss + sum(self.lpips(one, other) for one, other in zip(found, wanted, strict=True))
        loss.backward()
        logits, _ = discriminator(*(each.detach() for each in fakes))
        functional.relu(torch.rand_like(logits) * 0.2 + 0.8 + logits).mean().backward()
        self.optimizers[1].step()
        generator.zero_grad()
        loss = -discriminator(*fakes)[0].mean()
        loss.backward()
        self.optimizers[0].step()
        for parameter, average in zip(generator.parameters(), self.average, strict=True):
            average.mul_(0.999).add_(parameter.data, alpha=0.001)
        return loss.item()
