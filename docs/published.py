"""Shows the published numbers and claims of the report as a page: a hook of MkDocs, which calls `on_files`."""

from collections.abc import Iterator
from itertools import groupby

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from sparseshape_jax.report.claims import claims
from sparseshape_jax.report.published import PublishedNumber, Source, sources

OPENING = """# Published numbers and claims

[The report](report.md) sets these numbers next to ours, and says which of the claims hold. They are data:
`sparseshape_jax/report/published/` has a file for each source, and `sparseshape_jax/report/claims.yaml` the claims."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page."""
    files.append(File.generated(config, "published.md", content=markdown()))
    return files


def markdown() -> str:
    """All claims, and all numbers by source."""
    listed = [f"- {claim.text} *{claim.source}; `{claim.job}`*" for claim in claims()]
    parts = [OPENING, "## Claims", "\n".join(listed)]
    for source, numbers in sources():
        parts += [_source(source), *_tables(numbers)]
    return "\n\n".join(parts) + "\n"


def _source(source: Source) -> str:
    link = f" <{source.url}>" if source.url else ""
    return f"## {source.name}\n\n{source.citation.strip()}{link} {source.note.strip()}".rstrip()


def _tables(numbers: tuple[PublishedNumber, ...]) -> Iterator[str]:
    for (quantity, unit, setting, job), group in groupby(
        numbers, lambda one: (one.quantity, one.unit, one.setting, one.job)
    ):
        rows = [f"| {one.label} | {one.value} |" for one in group]
        head = f"| {quantity} ({unit}) | |\n|---|---|"
        yield (
            f"{setting[0].upper()}{setting[1:].strip()}. Compared with rows of `{job}`.\n\n{head}\n" + "\n".join(rows)
        )
