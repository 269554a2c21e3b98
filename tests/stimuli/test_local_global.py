"""The sets scrambled, patched, smoothed and difference, and edges: against goldens, and what must always hold."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.commands import table
from support.packages import require_package

from sparseshape_jax.errors import InputError
from sparseshape_jax.stimuli import edges, sets, write
from sparseshape_jax.stimuli.config import StimuliConfig
from sparseshape_jax.stimuli.patched import Patched, cover, patch_boxes, patch_layout, patch_mask
from sparseshape_jax.stimuli.scrambled import Scrambled, draw_permutation, scramble
from sparseshape_jax.stimuli.smoothed import difference, minimize_gradients, smooth


@pytest.fixture(scope="module")
def golden(reference_data):
    with np.load(reference_data / "goldens" / "localglobal" / "datasets.npz") as file:
        return {name: file[name] for name in file.files}


def noise(side=24, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def bits(packed):
    return np.unpackbits(packed, axis=-1).astype(bool)


class TestScrambled:
    @pytest.mark.parametrize("block", [28, 32, 56, 112])
    def test_equals_the_golden(self, golden, block):
        compared = 0
        for index, image in enumerate(golden["images"]):
            if (key := f"scrambled/{block}/image/{index}") in golden:
                found = scramble(image, block, golden[f"scrambled/{block}/permutation"][index])
                assert np.array_equal(found, golden[key])
                compared += 1
        assert compared

    @settings(deadline=None, max_examples=20)
    @given(block=st.sampled_from([1, 2, 3, 4, 6, 8, 12]), seed=st.integers(0, 2**32))
    def test_keeps_the_blocks_and_undoes(self, block, seed):
        image = noise()
        permutation = draw_permutation((24 // block) ** 2, np.random.default_rng(seed))
        found = scramble(image, block, permutation)
        assert np.array_equal(scramble(found, block, np.argsort(permutation)), image)
        assert blocks(found, block) == blocks(image, block)

    def test_no_permutation_is_the_identity_and_the_others_are_alike(self):
        rng = np.random.default_rng(0)
        counts = Counter(tuple(draw_permutation(4, rng)) for _ in range(2300))
        assert (0, 1, 2, 3) not in counts
        assert len(counts) == 23
        assert all(60 < count < 140 for count in counts.values())

    def test_each_variant_has_its_own_permutation_that_depends_on_nothing_else(self):
        image, stimuli = noise(), Scrambled()
        found = {name: stimuli.make(image, name, np.random.default_rng(3)) for name in ("4_0", "4_1", "6_0")}
        assert not np.array_equal(found["4_0"], found["4_1"])
        assert np.array_equal(stimuli.make(image, "4_0", np.random.default_rng(3)), found["4_0"])
        drawn = stimuli.drawn((24, 24), "4_0", np.random.default_rng(3))
        assert np.array_equal(scramble(image, 4, np.array(drawn.split(), int)), found["4_0"])

    @pytest.mark.parametrize("block", [0, 5, 7, 48])
    def test_refuses_blocks_that_do_not_divide(self, block):
        with pytest.raises(InputError, match="do not divide"):
            scramble(noise(), block, np.arange(1))

    def test_refuses_one_block(self):
        with pytest.raises(InputError, match="smaller"):
            Scrambled().make(noise(), "24_0", np.random.default_rng(0))

    @pytest.mark.parametrize("condition", ["56", "56_", "a_0", "0_0", "56_0_0", "-4_0"])
    def test_refuses_other_conditions(self, condition):
        with pytest.raises(InputError, match="no condition"):
            Scrambled().check(condition)


def blocks(image, side):
    rows = range(0, len(image), side)
    return Counter(image[y : y + side, x : x + side].tobytes() for y in rows for x in rows)


class TestPatched:
    @pytest.mark.parametrize("patch", [10, 20, 30, 40, 50, 60, 70])
    def test_equals_the_golden(self, golden, patch):
        boxes = patch_boxes(224, patch)
        assert np.array_equal(boxes, golden[f"patched/{patch}/boxes_xyxy"])
        assert len(boxes) == golden[f"patched/{patch}/singles"]
        assert patch_layout(224, patch)[1] == golden[f"patched/{patch}/border"]
        assert np.array_equal(patch_mask(224, boxes), bits(golden[f"patched/{patch}/all_mask"]))
        image = golden["images"][0]
        for key, covered in ((f"patched/{patch}/all/0", boxes), (f"patched/{patch}/single/0/1", boxes[[1]])):
            if key in golden:
                assert np.array_equal(cover(image, covered), golden[key])

    @settings(deadline=None, max_examples=30)
    @given(side=st.integers(1, 60), patch=st.integers(1, 60), color=st.tuples(*[st.integers(0, 255)] * 3))
    def test_singles_are_disjoint_and_make_up_all(self, side, patch, color):
        if patch > side:
            with pytest.raises(InputError, match="do not fit"):
                patch_boxes(side, patch)
            return
        boxes = patch_boxes(side, patch)
        masks = np.stack([patch_mask(side, boxes[[index]]) for index in range(len(boxes))])
        assert (masks.sum(axis=(1, 2)) == patch**2).all()
        assert masks.sum(axis=0).max() == 1
        assert np.array_equal(masks.any(axis=0), patch_mask(side, boxes))
        image = noise(side)
        covered = cover(image, boxes, color)
        assert (covered[masks.any(axis=0)] == color).all()
        assert np.array_equal(covered[~masks.any(axis=0)], image[~masks.any(axis=0)])

    def test_names_its_conditions(self):
        image, rng = noise(224), np.random.default_rng(0)
        assert np.array_equal(Patched().make(image, "50_03", rng), cover(image, patch_boxes(224, 50)[[3]]))
        with pytest.raises(InputError, match="4 single patches"):
            Patched().make(image, "50_04", rng)
        for wrong in ("50", "50_some", "a_all", "50_1_1"):
            with pytest.raises(InputError, match="no condition"):
                Patched().check(wrong)
        for color in ((0, 0), (0, 0, 256), (0, 0, -1), (0.5, 0, 0)):
            with pytest.raises(InputError, match="color"):
                Patched(color)


class TestSmoothed:
    def test_equals_the_golden(self, reference_data):
        with np.load(reference_data / "goldens" / "localglobal" / "smoothed.npz") as file:
            found = smooth(file["image"], 5, float(file["lambda"])).astype(int)
            for number, tolerance in ((1, 1), (2, 1), (5, 3)):
                off = np.abs(found[number - 1] - file[f"passes/{number}"])
                assert (off <= tolerance).mean() >= 0.999, number
            assert (
                np.abs(difference(file["image"], found[0].astype(np.uint8)) - file["difference"].astype(int)).max() <= 1
            )
            crop = file["crop/image"][None].astype(np.float32) / 255
            for smoothing in (0.005, 0.02):
                off = np.asarray(minimize_gradients(crop, smoothing)[0]) - file[f"crop/l0/{smoothing}"]
                assert np.abs(off).max() < 1e-5

    def test_a_flat_image_stays_and_a_batch_gives_what_its_images_give_alone(self):
        flat = np.full((16, 20, 3), 77, np.uint8)
        assert np.array_equal(smooth(flat, 2), [flat, flat])
        images = np.stack([noise(16, seed).astype(np.float32) / 255 for seed in range(3)])
        together = np.asarray(minimize_gradients(images))
        for image, found in zip(images, together, strict=True):
            np.testing.assert_allclose(minimize_gradients(image[None])[0], found, atol=1e-5)

    def test_the_bilateral_filter_is_opencvs(self):
        require_package("opencv-python-headless")
        import cv2

        image = noise(16)
        once = cv2.bilateralFilter(image, 9, 40, 5)
        assert np.array_equal(smooth(image, 2, "bilateral"), [once, cv2.bilateralFilter(once, 9, 40, 5)])

    @pytest.mark.parametrize(("passes", "smoothing"), [(0, 0.1), (1, 0.0), (1, -1.0), (1, float("nan"))])
    def test_refuses(self, passes, smoothing):
        with pytest.raises(InputError, match=r"passes is|smoothing is"):
            smooth(noise(8), passes, smoothing)

    @pytest.mark.parametrize(("name", "condition"), [("smoothed", "0"), ("smoothed", "a"), ("difference", "1")])
    def test_refuses_other_conditions(self, name, condition):
        with pytest.raises(InputError, match="no condition"):
            sets.find(name).check(condition)


class TestEdges:
    def test_equal_the_golden(self, golden):
        require_package("opencv-python-headless")
        for index, image in enumerate(golden["images"]):
            gray = edges.to_gray(image)
            assert np.array_equal(gray, golden[f"canny/{index}/grey"])
            assert np.array_equal(edges.thresholds(gray), golden[f"canny/{index}/median_low_high"])
            assert np.array_equal(edges.find_edges(image), bits(golden[f"canny/{index}/edges"]))
            plain = edges.find_edges(image, denoise=False)
            assert np.array_equal(plain, bits(golden[f"canny/{index}/undenoised_edges"]))

    def test_thresholds_are_rounded_down_in_double_precision(self):
        assert edges.thresholds(np.full((2, 2), 10, np.uint8)) == (10.0, 0, 19)
        assert edges.thresholds(np.full((2, 2), 200, np.uint8)) == (200.0, 19, 255)


class TestWritten:
    def write(self, tmp_path, out, **settings):
        config = StimuliConfig(images=str(tmp_path / "photos"), out=str(tmp_path / out), **settings)
        write.run(config)
        return table(tmp_path / out / "manifest.csv")

    def photos(self, tmp_path, side, *names):
        for name in names:
            path = tmp_path / "photos" / "cat" / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise(side, ord(name))).save(path)

    def test_manifest_has_the_permutations_and_a_second_run_gives_the_same(self, tmp_path):
        self.photos(tmp_path, 48, "a", "b")
        settings = {"sets": ("scrambled",), "conditions": ("12_0", "12_1", "24_0"), "size": 48}
        lines = self.write(tmp_path, "one", **settings)
        assert lines == self.write(tmp_path, "two", **settings)
        assert len(lines) == 6
        for line in lines:
            original = np.asarray(Image.open(tmp_path / "photos" / line["image"]))
            found = np.asarray(Image.open(tmp_path / "one" / line["file"]))
            permutation = np.array(line["drawn"].split(), int)
            assert np.array_equal(scramble(original, int(line["condition"].split("_")[0]), permutation), found)
        fewer = self.write(tmp_path, "fewer", per_class=1, **settings)
        assert len(fewer) == 3
        assert all(line in lines for line in fewer)
        self.photos(tmp_path, 48, "c")
        assert [line for line in self.write(tmp_path, "three", **settings) if "c.png" not in line["file"]] == lines

    def test_singles_are_spelled_out(self, tmp_path):
        self.photos(tmp_path, 224, "a")
        lines = self.write(tmp_path, "out", sets=("patched",), conditions=("60_singles",))
        assert [line["file"] for line in lines] == [f"patched/60_0{i}/cat/a.png" for i in range(4)]

    def test_refuses_blocks_that_do_not_divide(self, tmp_path):
        self.photos(tmp_path, 224, "a")
        with pytest.raises(InputError, match="do not divide"):
            self.write(tmp_path, "out", sets=("scrambled",), conditions=("57_0",))
