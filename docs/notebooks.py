"""Shows the notebooks of `docs/notebooks` as pages: a hook of MkDocs, which calls `on_files`.

A page holds the cells and the outputs as they are stored in the notebook. Nothing is run, and Jupyter is not needed.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for every notebook. The notebook itself is there, too, to be downloaded."""
    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        path = Path(file.abs_src_path or "")
        page = File.generated(config, file.src_uri.removesuffix("ipynb") + "md", content=markdown(path))
        files.append(page)
    return files


def markdown(path: Path) -> str:
    """A notebook (nbformat 4) as a page, with a link to itself."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    first, *others = [_cell(cell) for cell in cells]
    title, _, text = first.partition("\n")
    link = f"[Download this notebook]({path.name}) and run it with Jupyter."
    return "\n\n".join([title, link, text.strip(), *others])


def _cell(cell: dict) -> str:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return source
    return "\n\n".join([_fenced(source, "python"), *(_output(output) for output in cell["outputs"])])


def _output(output: dict) -> str:
    if output["output_type"] == "stream":
        return _fenced(_joined(output["text"]), "text")
    data = output["data"]
    if "image/png" in data:
        return f'<img alt="what the cell above drew" src="data:image/png;base64,{_joined(data["image/png"]).strip()}">'
    return _fenced(_joined(data["text/plain"]), "text")


def _fenced(text: str, language: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```"


def _joined(text: str | Sequence[str]) -> str:
    return "".join(text)
