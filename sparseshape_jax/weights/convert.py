"""The jobs that read files of weights without building a network: `convert` and `inspect`."""

from pathlib import Path

from sparseshape_jax import downloads
from sparseshape_jax.errors import InputError
from sparseshape_jax.preprocessing import TORCHVISION
from sparseshape_jax.weights import keys, torch_format
from sparseshape_jax.weights.assign import write_safetensors
from sparseshape_jax.weights.catalog import CATALOG
from sparseshape_jax.weights.config import TORCH, ConvertConfig, InspectConfig
from sparseshape_jax.weights.locate import locate
from sparseshape_jax.weights.read import read_arrays, read_metadata


def convert(config: ConvertConfig) -> None:
    """Write the weights in a file, or of a catalog entry, in another format.

    Weights of a known network get torchvision's names and layouts; others keep what they have.

    Raises:
        InputError: an unreadable source, or a destination that cannot be written.
    """
    destination = Path(config.destination)
    path = _file(config.source)
    arrays, metadata = read_arrays(path), read_metadata(path)
    table = keys.detect(arrays)
    if table is None:
        print("not a network that we know: names and layouts stay as they are")
    else:
        if unused := [key for key, own in keys.paths(arrays, table).items() if own is None]:
            raise InputError(f"{path} is a {table.architecture}, which has no place for {', '.join(unused)}")
        arrays = keys.to_torch(keys.to_ours(arrays, table), keys.table_for(table.architecture))
        metadata["architecture"] = table.architecture
    digest = downloads.sha256(path)
    published = next((entry for entry in CATALOG.values() if downloads.matches(digest, entry.sha256)), None)
    preprocessing = published.preprocessing if published else table.convention.preprocessing if table else None
    if destination.suffix in TORCH:
        torch_format.write_zip(arrays, destination)
        if preprocessing not in (None, TORCHVISION):
            print(f"a torch file cannot say that these weights want {preprocessing}")
    else:
        if published:
            metadata |= {"weights": published.name, "license": published.license}
        metadata |= {"converted_from": path.name, "converted_from_sha256": digest}
        write_safetensors(arrays, destination, metadata, preprocessing=preprocessing)
    print(f"{destination}: {len(arrays)} arrays{f' of a {table.architecture}' if table else ''}")


def inspect(config: InspectConfig) -> None:
    """Print what a file, or the file of a catalog entry, holds.

    Raises:
        InputError: an unreadable source.
    """
    path = _file(config.source)
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


def _file(source: str) -> Path:
    """A file, or the file of the catalog entry of that name."""
    return locate(CATALOG[source], option="its path in place of the name") if source in CATALOG else Path(source)
