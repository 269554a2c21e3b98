from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from sparseshape_jax.errors import InputError
from sparseshape_jax.figures import shape_bias as figures
from sparseshape_jax.observers.categories import CATEGORIES
from sparseshape_jax.observers.records import Records, observer_name, read_folders
from sparseshape_jax.observers.scores import Score, score

NAMES = ["shape-bias-against-sparsity", "shape-bias-box-plot", "shape-bias-by-category"]


def made_up(model: str, fraction: float | None = None, keep: str | None = None, shape: float = 0.5) -> Score:
    generator = np.random.default_rng(len(model))
    pairs = [(a, b) for a in CATEGORIES for b in CATEGORIES if a != b]
    records = Records(
        observer=observer_name(model, fraction, keep),
        images=tuple(f"{a}1-{b}1.png" for a, b in pairs),
        categories=tuple(a for a, _ in pairs),
        responses=tuple(a if generator.random() < shape else b for a, b in pairs),
    )
    return score(records, model=model, fraction=fraction, keep=keep)


def undecided(model: str) -> Score:
    return score(Records(model, ("cat1-dog1.png",), ("cat",), ("oven",)))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """Figures by name, kept instead of saved."""
    kept: dict[str, Figure] = {}

    def keep(figure: Figure, stem: Path, *, tight: bool) -> list[Path]:
        figure.draw_without_rendering()
        kept[stem.name] = figure
        return []

    monkeypatch.setattr(figures, "save", keep)
    return kept


def labels(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_figures_of_the_reference_records(tmp_path: Path, reference_data: Path) -> None:
    folder = reference_data / "data" / "reference-decisions" / "cue-conflict"
    before = dict(matplotlib.rcParams)
    paths = figures.draw(tmp_path / "figures", [score(records) for records in read_folders([folder])])
    assert dict(matplotlib.rcParams) == before
    assert sorted(path.name for path in paths) == sorted(name + suffix for name in NAMES for suffix in (".pdf", ".png"))
    assert sorted(paths) == sorted((tmp_path / "figures").iterdir())
    for path in paths:
        if path.suffix == ".pdf":
            content = path.read_bytes()
            assert content.startswith(b"%PDF")
            assert content.rstrip().endswith(b"%%EOF")
        else:
            with Image.open(path) as image:
                image.load()
                assert image.size[0] == 1600
                assert len(image.getcolors(maxcolors=1 << 24) or []) > 20


def test_sweeps_are_ordered_and_nothing_is_cut_off(drawn: dict[str, Figure]) -> None:
    scores = [
        made_up("squeezenet1_1", 0.2, "top", 0.8),
        made_up("squeezenet1_1", 1.0, "top", 0.3),
        made_up("squeezenet1_1", 0.05, "top", 0.9),
        made_up("squeezenet1_1", 0.2, "rest", 0.2),
        made_up("subject-01", shape=0.95),
        made_up("subject-02", shape=0.9),
        made_up("_some.module:a_function_with_a_long_name_and_$odd_{signs", 1.0, "all"),
    ]
    figures.draw("unused", scores)
    assert sorted(drawn) == NAMES
    assert labels(drawn["shape-bias-by-category"]) == [
        "humans (2)",
        "squeezenet1_1",
        "squeezenet1_1, top 20 %",
        "squeezenet1_1, top 5 %",
        "squeezenet1_1, top 20 % removed",
        "some.module:a_f…_and_$odd_{signs",
    ]
    axes = drawn["shape-bias-against-sparsity"].axes
    assert [one.get_title() for one in axes] == ["shape bias", "cue accuracy"]
    assert [text.get_text() for text in axes[0].get_xticklabels()] == ["100", "20", "5"]
    for figure in drawn.values():
        box = figure.get_tightbbox()
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.get_figwidth()
        assert box.y1 <= figure.get_figheight()


def test_marks_stand_where_the_numbers_are(drawn: dict[str, Figure]) -> None:
    one = made_up("net", shape=0.25)
    figures.draw("unused", [one, made_up("subject-01", shape=0.95)])
    axes = drawn["shape-bias-by-category"].axes[0]
    rows = [text.get_text() for text in axes.get_yticklabels()]
    assert sorted(rows) == list(CATEGORIES)
    markers = next(line for line in axes.lines if line.get_marker() == "o")
    expected = [1 - one.by_category[category].shape_bias for category in rows]
    np.testing.assert_allclose(markers.get_xdata(), expected)
    np.testing.assert_array_equal(np.round(np.asarray(markers.get_ydata())), range(16))
    assert any(list(line.get_xdata()) == [1 - one.shape_bias] * 2 for line in axes.lines)
    assert "shape-bias-against-sparsity" not in drawn


def test_names_tell_what_belongs_to_a_sweep(drawn: dict[str, Figure]) -> None:
    scores = [made_up(name) for name in ("net_topK_20", "net", "other", "subject-01")]
    figures.draw("unused", scores)
    assert labels(drawn["shape-bias-box-plot"]) == ["all decisions", "one category", "median category"]
    rows = [text.get_text() for text in drawn["shape-bias-box-plot"].axes[0].get_yticklabels()]
    assert rows == ["humans (1)", "net", "net, top 20 %", "other"]
    assert labels(drawn["shape-bias-against-sparsity"]) == ["net", "humans (1), range", "chance"]


def test_missing_observers_give_a_warning(drawn: dict[str, Figure]) -> None:
    with pytest.warns(UserWarning, match="no records of human subjects"):
        figures.draw("unused", [made_up("net", 1.0)])
    assert sorted(drawn) == NAMES
    drawn.clear()
    with pytest.warns(UserWarning, match="silent has no shape or texture decision"):
        figures.draw("unused", [undecided("silent"), made_up("subject-01")])
    assert labels(drawn["shape-bias-by-category"]) == ["humans (1)"]
    drawn.clear()
    with pytest.warns(UserWarning, match="there are no records"):
        assert figures.draw("unused", []) == []
    assert not drawn


def test_a_failed_save_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Figure, path: Path, **_: object) -> None:
        Path(path).write_bytes(b"half a")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(InputError, match="No space left"):
        figures.draw(tmp_path, [made_up("subject-01")])
    assert not list(tmp_path.iterdir())


def test_the_same_scores_give_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(figures.STYLE, "savefig.dpi", 50)
    one = [made_up("subject-01")]
    first, second = (figures.draw(tmp_path / name, one) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
