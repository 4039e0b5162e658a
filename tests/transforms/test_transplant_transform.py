"""Transplants on the fly: what takes the place of an item, and how it lies."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from marked import AXIAL, box_of, determinism, item
from monai.apps.detection.transforms.dictionary import RandFlipBoxd
from monai.data.dataloader import DataLoader
from monai.data.dataset import CacheDataset
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose
from numpy.typing import NDArray

from heads import LESIONS, SIDE, save_heads
from medvae import transforms
from medvae.errors import ReadError, UsageProblem
from medvae.transforms import RandLatentNeighbord, RandTransplantd, TransplantBank

KEYS = {"mask_keys": "mask", "box_keys": "box", "label_keys": "label"}


def transplantd(bank: Path, **choices: Any) -> RandTransplantd:
    return RandTransplantd("image", bank, **{**KEYS, "prob": 1.0, **choices})


class TestItems:
    def test_marks_are_where_the_lesion_is(self, bank: Path) -> None:
        transform = transplantd(bank, categories={"glioma": 3}).set_random_state(0)
        replaced = [found for _ in range(12) if (found := transform(item(3, 0)))["label"].numel()]
        assert len(replaced) > 6
        for found in replaced:
            picture, mask = found["image"][0].numpy(), found["mask"][0].numpy()
            assert set(np.unique(mask)) == {0, 4}
            assert box_of(mask > 0) == tuple(found["box"][0].tolist())
            assert picture[mask > 0].mean() > picture[mask == 0].max() - 150
            assert found["label"].tolist() == [3]

    def test_kinds_of_data_are_the_item_s(self, bank: Path) -> None:
        given = {
            "image": item()["image"].numpy().astype(np.int16),
            "mask": item()["mask"].numpy().astype(np.int32),
            "box": item()["box"].numpy().astype(np.float64),
            "label": np.zeros(1, dtype=np.int32),
            "case": "7",
        }
        for prob in (0.0, 1.0):
            found = transplantd(bank, prob=prob)(given)
            assert found["image"].dtype == torch.float32
            assert found["mask"].dtype == torch.int32
            assert found["box"].dtype == np.float64
            assert found["label"].dtype == np.int32
            assert found["case"] == "7"

    def test_probability(self, bank: Path) -> None:
        transform = transplantd(bank, prob=0.25).set_random_state(0)
        free = item(3, 0)
        replaced = [bool(transform(free)["label"].numel()) for _ in range(200)]
        assert 0.12 < np.mean(replaced) < 0.35

    def test_the_item_stays_where_nothing_fits(self, bank: Path) -> None:
        given = item()
        found = transplantd(bank, strength=60.0)(given)
        for key, value in given.items():
            assert torch.equal(found[key], value)
        assert not found["image"].applied_operations[0]["extra_info"]["moved"]
        assert given["image"].applied_operations == []

    def test_it_is_noted_whose_slices_they_are(self, bank: Path) -> None:
        transform = transplantd(bank).set_random_state(0)
        found = transform(item())
        said = found["image"].applied_operations[0]["extra_info"]
        assert said["donor_group"] != said["host_group"]
        stored = {one.key: one.group for one in TransplantBank.open(bank).slices}
        assert stored[said["donor"]] == said["donor_group"]
        assert stored[said["host"]] == said["host_group"]
        with pytest.raises(UsageProblem, match="RandTransplantd cannot be undone"):
            transform.inverse(found)


class TestLies:
    @pytest.mark.parametrize("reverse", [(), (1,), (2,), (1, 2)])
    @pytest.mark.parametrize("turn", [False, True])
    def test_as_the_item_does(self, bank: Path, reverse: tuple[int, ...], turn: bool) -> None:
        def replaced(affine: NDArray[Any]) -> dict[str, Any]:
            given = {**item(), "image": MetaTensor(np.zeros((1, 9, 9)), affine=affine)}
            given["mask"] = MetaTensor(np.zeros((1, 9, 9), np.uint8), affine=affine)
            return transplantd(bank).set_random_state(1)(given)

        expected = replaced(AXIAL)
        affine = AXIAL.copy()
        for axis in reverse:
            affine[:, axis - 1] *= -1
        if turn:
            affine = affine[:, [1, 0, 2, 3]]
        found = replaced(affine)
        for key in ("image", "mask"):
            shown = found[key].numpy().swapaxes(1, 2) if turn else found[key].numpy()
            np.testing.assert_array_equal(np.flip(shown, reverse), expected[key].numpy())
        assert box_of(found["mask"][0].numpy() > 0) == tuple(found["box"][0].tolist())
        # The host's pixels are 0.5 mm high and 0.75 mm wide.
        sides = np.linalg.norm(found["image"].affine[:, :2], axis=0)
        np.testing.assert_allclose(sides, [0.5, 0.75] if turn else [0.75, 0.5])
        np.testing.assert_array_equal(found["mask"].affine, found["image"].affine)

    def test_arrays_have_rows_first(self, bank: Path) -> None:
        rows = transplantd(bank).set_random_state(1)(item())
        columns = transplantd(bank, rows_first=False).set_random_state(1)(item())
        made = TransplantBank.open(bank).draw(transplantd_seed(bank), 1.0)
        assert made
        np.testing.assert_array_equal(rows["image"][0], made.rendered.values)
        np.testing.assert_array_equal(columns["image"][0], made.rendered.values.T)


def transplantd_seed(bank: Path) -> int:
    """Return the first seed that a transform in random state 1 draws."""
    transform = transplantd(bank).set_random_state(1)
    transform.randomize()
    return transform._seed


class TestPipelines:
    @pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
    def test_reproducible_in_workers(self, bank: Path, run: Path) -> None:
        boxes = {"image_keys": "image", "box_keys": "box", "box_ref_image_keys": "image"}
        chain = Compose(
            [
                transplantd(bank, prob=0.7),
                RandLatentNeighbord("image", run, "mask", "box", prob=0.5),
                RandFlipBoxd(**boxes, prob=0.5),
            ]
        )

        def batches() -> list[dict[str, torch.Tensor]]:
            with determinism(3):
                data = CacheDataset([item()] * 8, chain, num_workers=None, progress=False)
                return list(DataLoader(data, batch_size=2, num_workers=2))

        first, second = batches(), batches()
        for one, other in zip(first, second, strict=True):
            for key in ("image", "mask", "box", "label"):
                assert torch.equal(one[key], other[key])
        assert not torch.equal(first[0]["image"], first[1]["image"])
        assert first[0]["image"].shape == (2, 1, SIDE, SIDE)

    def test_pickled_without_pixels(self, bank: Path) -> None:
        transform = transplantd(bank).set_random_state(1)
        transform(item())
        sent = pickle.dumps(transform)
        assert len(sent) < 10_000
        assert torch.equal(pickle.loads(sent)(item())["image"], transform(item())["image"])

    def test_missing_keys(self, bank: Path) -> None:
        given = {"image": item()["image"]}
        assert transplantd(bank, allow_missing_keys=True)(given).keys() == {"image"}
        with pytest.raises(KeyError, match="mask"):
            transplantd(bank)(given)

    def test_aliases(self) -> None:
        for suffix in ("D", "Dict"):
            name = f"RandTransplant{suffix}"
            assert getattr(transforms, name) is RandTransplantd
            assert name in transforms.__all__


class TestWrongUse:
    def test_choices(self, bank: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageProblem, match="strength must be 0 or more, but is -1"):
            transplantd(bank, strength=-1)
        with pytest.raises(UsageProblem, match="must have a label for glioma too"):
            transplantd(bank, categories={"cyst": 1})
        with pytest.raises(ReadError, match="holds no transplant bank"):
            transplantd(tmp_path)
        with pytest.raises(UsageProblem, match=r"must be \[1, H, W\], but is \[3, 9, 9\]"):
            transplantd(bank)({**item(), "image": np.zeros((3, 9, 9))})

    def test_masks_of_lesions_that_have_none(self, run: Path, tmp_path: Path) -> None:
        studies = save_heads(tmp_path / "studies")
        labels = studies / "coco.json"
        said = labels.read_text().replace('"segmentation"', '"other"')
        labels.write_text(said)
        folder = tmp_path / "bank"
        opened = TransplantBank.build(folder, [studies], labels=labels, model=run)
        assert len(opened) == LESIONS
        with pytest.raises(UsageProblem, match="some of its lesions have no mask: leave mask_keys"):
            transplantd(folder)
        found = RandTransplantd("image", folder, box_keys="box", prob=1.0)(item())
        assert found["box"].shape == (1, 4)
