import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparseshape_jax.errors import InputError
from sparseshape_jax.observers.categories import CATEGORIES
from sparseshape_jax.observers.records import (
    COLUMNS,
    Records,
    observer_name,
    parse_observer_name,
    read_csv,
    read_folders,
    write_csv,
)

HEADER = "subj,session,trial,rt,object_response,category,condition,imagename"
ROWS = [
    "net,1,1,NaN,cat,cat,NaN,cat1-dog2.png",
    "net,1,2,NaN,dog,cat,NaN,cat2-dog1.png",
    "net,1,3,NaN,oven,bear,NaN,bear1-bear2.png",
]

# What a CSV field can hold and keep: no line breaks, nothing that is stripped at the ends.
names = (
    st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=12)
    .map(lambda text: f"a {text}\"', {text}")
    .map(str.strip)
)


def write(path: Path, rows: list[str], header: str = HEADER, end: str = "\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((end.join([header, *rows]) + end).encode())
    return path


def test_reads_a_file(tmp_path: Path) -> None:
    records = read_csv(write(tmp_path / "cue-conflict_net_session-1.csv", ROWS, end="\r\n"))
    assert records == Records(
        observer="net",
        images=("cat1-dog2.png", "cat2-dog1.png", "bear1-bear2.png"),
        categories=("cat", "cat", "bear"),
        responses=("cat", "dog", "oven"),
    )
    assert records.dataset == "cue-conflict"
    assert records.textures == ("dog", "dog", "bear")
    assert records.conditions == (None, None, None)
    assert not records.is_human
    assert len(records) == 3


def test_reads_humans_with_prefixes_missing_answers_and_other_spellings(tmp_path: Path) -> None:
    rows = [
        "subject-01,1,1,0.9,na,cat,0,0001_s5n_s01_0_cat_00_cat1-dog2.png",
        "subject-01,1,2,0.9,NaN,cat,0,0002_s5n_s01_0_cat_00_cat2-dog1.png",
        "subject-01,1,3,0.9,,cat,0,0003_s5n_s01_0_cat_00_cat10-dog1.png",
        "",
    ]
    path = write(
        tmp_path / "cue-conflict_subject-01_session_1.csv", rows, "\ufeff" + HEADER.replace("session", "Session")
    )
    records = read_csv(path)
    assert records.is_human
    assert records.responses == (None, None, None)
    assert records.stimuli == ("cat1-dog2.png", "cat2-dog1.png", "cat10-dog1.png")
    assert records.textures == ("dog", "dog", "dog")
    assert records.conditions == ("0", "0", "0")


def test_other_datasets_have_no_textures(tmp_path: Path) -> None:
    row = "subject-01,1,1,0.9,knife,oven,0,0001_edg_s01_0_oven_00_oven10.png"
    records = read_csv(write(tmp_path / "edge_subject-01_session_1.csv", [row]))
    assert records.dataset == "edge"
    assert records.textures == (None,)


def test_a_file_of_another_name_is_cue_conflict_if_its_images_are(tmp_path: Path) -> None:
    assert read_csv(write(tmp_path / "mine.csv", ROWS)).dataset == "cue-conflict"
    row = "net,1,1,NaN,knife,oven,NaN,oven10.png"
    assert read_csv(write(tmp_path / "edge" / "mine.csv", [row])).dataset == "edge"


def test_all_reference_records_are_read(reference_data: Path) -> None:
    everything = read_folders([reference_data / "data" / "reference-decisions"])
    sizes = {"cue-conflict": 1280, "edge": 160, "silhouette": 160, "sketch": 800, "stylized": 800}
    numbers = {"cue-conflict": 18, "edge": 10, "silhouette": 10, "sketch": 7, "stylized": 5}
    for dataset, size in sizes.items():
        present = [records for records in everything if records.dataset == dataset]
        assert len(present) == numbers[dataset]
        assert {len(records) for records in present} == {size}
        assert {len(set(records.stimuli)) for records in present} == {size}
        assert len({frozenset(records.stimuli) for records in present}) == 1
    conflicts = [records for records in everything if records.dataset == "cue-conflict"]
    assert [records.observer for records in conflicts if not records.is_human] == [
        "AlexNet_normal",
        *(f"AlexNet_topK_{percent}" for percent in (5, 10, 20, 30, 40, 50)),
        "vit_large_patch16_224",
    ]
    for records in conflicts:
        assert None not in records.textures
        assert sum(t != c for t, c in zip(records.textures, records.categories, strict=True)) == 1200
    unanswered = {records.observer: records.responses.count(None) for records in conflicts if records.is_human}
    assert (unanswered["subject-01"], unanswered["subject-04"], unanswered["subject-09"]) == (27, 37, 1)


def test_written_files_are_those_of_model_vs_human(tmp_path: Path, reference_data: Path) -> None:
    theirs = reference_data / "data/reference-decisions/cue-conflict/cue-conflict_AlexNet-topK-20_session-1.csv"
    ours = write_csv(tmp_path, read_csv(theirs))
    assert ours == tmp_path / "raw-data" / "cue-conflict" / theirs.name
    assert ours.read_text().splitlines() == theirs.read_text().splitlines()


@settings(deadline=None, max_examples=60)
@given(
    observer=names,
    trials=st.lists(
        st.tuples(st.sampled_from(CATEGORIES), st.sampled_from(CATEGORIES), st.sampled_from((*CATEGORIES, None))),
        min_size=1,
        max_size=20,
    ),
    condition=st.none() | names,
    prefix=st.sampled_from(["", "0001_s5n_s01_0_"]),
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    observer: str,
    trials: list[tuple[str, str, str | None]],
    condition: str | None,
    prefix: str,
) -> None:
    records = Records(
        observer=observer,
        images=tuple(f"{prefix}{shape}{i}-{texture}{i}.png" for i, (shape, texture, _) in enumerate(trials)),
        categories=tuple(shape for shape, _, _ in trials),
        responses=tuple(response for _, _, response in trials),
        conditions=(condition,) * len(trials),
    )
    path = write_csv(tmp_path_factory.mktemp("records"), records)
    assert read_csv(path) == records
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row[2] for row in rows[1:]] == [str(i + 1) for i in range(len(trials))]
    assert {(row[1], row[3]) for row in rows[1:]} == {("1", "NaN")}


@pytest.mark.parametrize("observer", ["a_b", "a-b", "module:function", "../up", "a/b"])
def test_file_names_hold_no_separators(tmp_path: Path, observer: str) -> None:
    path = write_csv(tmp_path, Records(observer, ("cat1-dog1.png",), ("cat",), ("cat",)))
    assert path.parent == tmp_path / "raw-data" / "cue-conflict"
    assert "_" not in path.name.removeprefix("cue-conflict_").removesuffix("_session-1.csv")
    assert read_csv(path).observer == observer


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (lambda rows: rows.__setitem__(1, rows[1].replace(",dog,", ",toaster,")), 3, ["'toaster'", "airplane", "na"]),
        (lambda rows: rows.__setitem__(1, rows[1].replace(",cat,NaN", ",kitten,NaN")), 3, ["'kitten'", "category"]),
        (lambda rows: rows.__setitem__(1, "net,1,2,NaN,dog,cat,NaN"), 3, ["7 values", "8 columns"]),
        (lambda rows: rows.__setitem__(1, rows[1] + ",more"), 3, ["9 values"]),
        (lambda rows: rows.__setitem__(1, rows[1].replace("cat2", "bear2")), 3, ["'bear'", "'cat'"]),
        (lambda rows: rows.__setitem__(1, rows[1].replace("dog1.png", "toaster1.png")), 3, ["toaster1.png"]),
        (lambda rows: rows.__setitem__(1, rows[1].replace("net", "other")), 3, ["'other'", "'net'"]),
        (lambda rows: rows.__setitem__(0, rows[0].replace("net", "")), 2, ["subj"]),
        (lambda rows: rows.__setitem__(2, rows[0]), 4, ["cat1-dog2.png", "second time"]),
        (lambda rows: rows.__setitem__(1, rows[1].replace("dog,", '"dog"x,')), 3, ["not CSV"]),
    ],
)
def test_faults_are_named_with_file_and_line(tmp_path: Path, change, line: int, words: list[str]) -> None:
    rows = list(ROWS)
    change(rows)
    path = write(tmp_path / "cue-conflict_net_session-1.csv", rows)
    with pytest.raises(InputError) as caught:
        read_csv(path)
    message = str(caught.value)
    assert f"{path}, line {line}: " in message
    assert all(word in message for word in words), message
    assert "\n" not in message


def test_files_that_are_no_records_are_named(tmp_path: Path) -> None:
    cases = {
        "no column condition, imagename": write(
            tmp_path / "columns.csv", ["1,2"], "subj,session,trial,rt,object_response,category"
        ),
        "no trials": write(tmp_path / "cue-conflict_net_session-1.csv", []),
        "line 1: no column subj": tmp_path / "empty.csv",
        "not a text file": tmp_path / "binary.csv",
        "cannot read": tmp_path / "folder.csv",
    }
    (tmp_path / "empty.csv").touch()
    (tmp_path / "binary.csv").write_bytes(bytes(range(128, 256)))
    (tmp_path / "folder.csv").mkdir()
    for words, path in cases.items():
        with pytest.raises(InputError, match=words) as caught:
            read_csv(path)
        assert str(path) in str(caught.value)


def test_sessions_are_merged_and_files_sorted_by_number(tmp_path: Path) -> None:
    for percent in (5, 10, 50):
        write(
            tmp_path / "cue-conflict" / f"cue-conflict_n-{percent}_session-1.csv",
            [r.replace("net", f"n_{percent}") for r in ROWS],
        )
    write(tmp_path / "more" / "cue-conflict_n-10_session-2.csv", ["n_10,2,1,NaN,cat,cat,NaN,cat9-dog9.png"])
    # Our own tables, hidden files and other things that lie about are no records.
    for name in ("summary.csv", "consistency.csv", "._cue-conflict_n-5_session-1.csv", "notes.txt"):
        (tmp_path / name).write_text("something else")
    everything = read_folders([tmp_path])
    assert [records.observer for records in everything] == ["n_5", "n_10", "n_50"]
    assert [len(records) for records in everything] == [3, 4, 3]
    # A folder given twice, or within another, is read once; a file may stand for a folder.
    assert read_folders([tmp_path, tmp_path / "more"]) == everything
    assert len(read_folders([tmp_path / "cue-conflict" / "cue-conflict_n-5_session-1.csv"])) == 1


def test_a_trial_in_two_files_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a" / "cue-conflict_net_session-1.csv", ROWS)
    write(tmp_path / "b" / "cue-conflict_net_session-1.csv", ROWS)
    with pytest.raises(InputError, match=r"b/cue-conflict_net_session-1\.csv repeats 3 trials of 'net'"):
        read_folders([tmp_path])


def test_missing_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere does not exist"):
        read_folders([tmp_path / "nowhere"])
    with pytest.raises(InputError, match="holds no records"):
        read_folders([tmp_path])


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"responses": ("toaster",)}, "toaster"),
        ({"categories": ("toaster",)}, "toaster"),
        ({"images": ("oven10.png",)}, "oven10.png"),
        ({"responses": ("cat", "cat")}, "lengths"),
    ],
)
def test_records_check_themselves(columns: dict[str, tuple[str, ...]], words: str) -> None:
    good = {"images": ("cat1-dog1.png",), "categories": ("cat",), "responses": ("cat",)}
    assert len(Records("net", **good)) == 1
    with pytest.raises(InputError, match=words):
        Records("net", **{**good, **columns})


@pytest.mark.parametrize(
    ("observer", "parsed"),
    [
        ("AlexNet_topK_20", ("AlexNet", 0.2, "top")),
        ("AlexNet-topK-5", ("AlexNet", 0.05, "top")),
        ("AlexNet_normal", ("AlexNet", 1.0, "all")),
        ("squeezenet1_1_restK_12.5", ("squeezenet1_1", 0.125, "rest")),
        ("vit_large_patch16_224", ("vit_large_patch16_224", None, None)),
        ("_topK_20", ("_topK_20", None, None)),
    ],
)
def test_names_of_sparse_networks(observer: str, parsed: tuple[str, float | None, str | None]) -> None:
    assert parse_observer_name(observer) == parsed


@given(st.integers(1, 99), st.sampled_from(["top", "rest"]))
def test_names_of_sparse_networks_round_trip(percent: int, keep: str) -> None:
    name = observer_name("vgg16_bn", percent / 100, keep)
    assert name == f"vgg16_bn_{keep}K_{percent}"
    assert parse_observer_name(name) == ("vgg16_bn", pytest.approx(percent / 100), keep)


def test_names_of_dense_networks_are_their_own() -> None:
    for fraction, keep in ((None, None), (1.0, "top"), (1.0, "rest"), (0.2, "all")):
        assert observer_name("vgg16_bn", fraction, keep) == "vgg16_bn"
