"""Neighbours on the fly: MONAI's contract, and marks that are where they say."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from marked import AXIAL, FAR, body, box_of, bright, determinism, disc, item
from monai.apps.detection.transforms.dictionary import RandFlipBoxd, RandZoomBoxd
from monai.data.dataloader import DataLoader
from monai.data.dataset import CacheDataset
from monai.data.meta_obj import set_track_meta
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose
from monai.transforms.spatial.dictionary import RandFlipd

from heads import save_run
from medvae import transforms
from medvae.errors import ReadError, UsageProblem
from medvae.geometry import Box
from medvae.transforms import RandLatentNeighbor, RandLatentNeighbord


def neighbord(run: Path, **choices: Any) -> RandLatentNeighbord:
    """Return a transform that moves pictures visibly."""
    choices = {"strength": FAR, "prob": 1.0, "mask_keys": "mask", "box_keys": "box", **choices}
    return RandLatentNeighbord("image", run, **choices)


def with_disc(**changes: Any) -> dict[str, Any]:
    """Return a body with a bright disc, its mask and its box."""
    mask = disc()
    return {
        "image": np.where(mask, np.float32(2000), body())[None],
        "mask": mask[None].astype(np.uint8),
        "box": np.array([box_of(mask)], dtype=np.float32),
        **changes,
    }


class TestContract:
    @pytest.mark.parametrize("render", ["warp", "residual", "warp+residual"])
    @pytest.mark.parametrize("rows_first", [True, False])
    def test_strength_zero_gives_everything_back(
        self, run: Path, render: str, rows_first: bool
    ) -> None:
        given = with_disc()
        found = neighbord(run, strength=0.0, render=render, rows_first=rows_first)(given)
        for key, value in given.items():
            np.testing.assert_array_equal(np.asarray(found[key]), value)

    def test_probability(self, run: Path) -> None:
        given = item()
        never = neighbord(run, prob=0.0)
        assert all(torch.equal(never(given)["image"], given["image"]) for _ in range(5))
        sometimes = neighbord(run, prob=0.4, render="residual").set_random_state(0)
        changed = [not torch.equal(sometimes(given)["image"], given["image"]) for _ in range(60)]
        assert 0.2 < np.mean(changed) < 0.6

    def test_dictionary_does_as_the_array_does(self, run: Path) -> None:
        given = item()
        dictionary = neighbord(run, prob=0.7).set_random_state(3)
        array = RandLatentNeighbor(run, strength=FAR, prob=0.7).set_random_state(3)
        for _ in range(6):
            found = dictionary(given)
            image, (mask,), (boxes,) = array.with_marks(
                given["image"], [given["mask"]], [given["box"]]
            )
            assert torch.equal(found["image"], image)
            assert torch.equal(found["mask"], mask)
            assert torch.equal(found["box"], boxes)
            assert torch.equal(array(given["image"], randomize=False), image)

    def test_same_state_gives_the_same(self, run: Path) -> None:
        def drawn(seed: int) -> torch.Tensor:
            transform = neighbord(run, prob=0.6).set_random_state(seed)
            return torch.stack([transform(item())["image"].as_tensor() for _ in range(4)])

        assert torch.equal(drawn(1), drawn(1))
        assert not torch.equal(drawn(1), drawn(2))

    def test_what_was_given_stays_as_it_was(self, run: Path) -> None:
        given = item()
        image, mask, boxes = (given[key].clone() for key in ("image", "mask", "box"))
        neighbord(run, prob=0.5).set_random_state(0)(given)
        neighbord(run)(given)
        assert torch.equal(given["image"], image)
        assert torch.equal(given["mask"], mask)
        assert torch.equal(given["box"], boxes)
        assert given["image"].applied_operations == []

    @pytest.mark.parametrize("prob", [0.0, 1.0])
    def test_kinds_of_data_do_not_depend_on_the_draw(self, run: Path, prob: float) -> None:
        boxes = [[31.0, 51.0, 70.0, 90.0]]
        meta = {"affine": AXIAL, "patient": "p1"}
        given = with_disc(
            image=MetaTensor(with_disc()["image"].astype(np.float64), meta=meta),
            mask=with_disc()["mask"].astype(np.int32),
            box=np.array(boxes, dtype=np.int64),
        )
        found = neighbord(run, prob=prob)(given)
        assert found["image"].dtype == torch.float32
        assert found["image"].meta["patient"] == "p1"
        np.testing.assert_array_equal(found["image"].affine, AXIAL)
        assert isinstance(found["mask"], MetaTensor)
        assert found["mask"].dtype == torch.int32
        assert isinstance(found["box"], np.ndarray)
        assert found["box"].dtype == np.float32
        assert isinstance(neighbord(run, prob=prob)({**given, "box": boxes})["box"], torch.Tensor)

    def test_without_metadata(self, run: Path) -> None:
        set_track_meta(False)
        try:
            found = neighbord(run)(with_disc())
        finally:
            set_track_meta(True)
        assert type(found["image"]) is type(found["mask"]) is torch.Tensor

    def test_missing_keys(self, run: Path) -> None:
        given = {"image": item()["image"]}
        assert neighbord(run, allow_missing_keys=True)(given).keys() == {"image"}
        assert neighbord(run, allow_missing_keys=True)({"other": 1}) == {"other": 1}
        with pytest.raises(KeyError, match="mask"):
            neighbord(run)(given)

    def test_pickled_without_weights(self, run: Path) -> None:
        transform = neighbord(run).set_random_state(4)
        transform(item())
        sent = pickle.dumps(transform)
        assert len(sent) < 10_000
        assert torch.equal(pickle.loads(sent)(item())["image"], transform(item())["image"])

    def test_aliases(self) -> None:
        for suffix in ("D", "Dict"):
            name = f"RandLatentNeighbor{suffix}"
            assert getattr(transforms, name) is RandLatentNeighbord
            assert name in transforms.__all__


class TestTrace:
    def test_draws_are_noted(self, run: Path) -> None:
        transform = neighbord(run)
        found = transform(item())
        (done,) = found["image"].applied_operations
        assert done["class"] == "RandLatentNeighbor"
        assert done["do_transforms"]
        assert done["extra_info"] == {
            "moved": True,
            "strength": FAR,
            "seed": transform.neighbor._seed,
        }

    @pytest.mark.parametrize(("prob", "render"), [(0.0, "warp"), (1.0, "residual")])
    def test_others_can_be_undone(self, run: Path, prob: float, render: str) -> None:
        flip = RandFlipd(["image", "mask"], prob=1.0, spatial_axis=0)
        chain = Compose([flip, neighbord(run, prob=prob, render=render), flip])
        given = item()
        undone = chain.inverse(chain(given))
        assert torch.equal(undone["mask"], given["mask"])
        assert undone["image"].applied_operations == []
        assert torch.equal(undone["image"], given["image"]) is (prob == 0.0)

    def test_a_moved_picture_cannot(self, run: Path) -> None:
        transform = neighbord(run)
        with pytest.raises(UsageProblem, match="RandLatentNeighbor cannot be undone: leave it out"):
            transform.inverse(transform(item()))


class TestMarks:
    @pytest.mark.parametrize("masked", [True, False])
    def test_boxes_are_right_after_monais_own(self, run: Path, masked: bool) -> None:
        keys = {"mask_keys": "mask" if masked else (), "box_keys": "box"}
        boxes = {"image_keys": "image", "box_keys": "box", "box_ref_image_keys": "image"}
        chain = Compose(
            [
                neighbord(run, **keys),
                RandFlipBoxd(**boxes, prob=0.5, spatial_axis=0),
                RandFlipBoxd(**boxes, prob=0.5, spatial_axis=1),
                RandZoomBoxd(**boxes, prob=0.7, min_zoom=0.8, max_zoom=1.2, padding_mode="edge"),
            ]
        ).set_random_state(0)
        moved = []
        for _ in range(8):
            found = chain(with_disc())
            there = box_of(bright(found["image"]))
            assert there.iou(Box(*found["box"][0])) >= 0.9
            moved.append(there.iou(Box(*with_disc()["box"][0])))
        assert min(moved) < 0.7

    def test_boxes_follow_their_masks(self, run: Path) -> None:
        lesions = [disc(40, 76, 13), disc(88, 50, 9)]
        labels = (lesions[0] | lesions[1]).astype(np.int16) + 4 * disc(64, 100, 8).astype(np.int16)
        loose = np.array([[60.0, 92.0, 100.0, 120.0]])
        boxes = np.concatenate([[box_of(lesion) for lesion in lesions], loose])
        transform = neighbord(run).set_random_state(1)
        for _ in range(3):
            found = transform(with_disc(mask=labels[None], box=boxes))
            mask = found["mask"][0].numpy()
            assert set(np.unique(mask)) == {0, 1, 4}
            halves = np.indices(mask.shape)[0] < 64
            for half, box in zip((halves, ~halves), found["box"], strict=False):
                assert box_of((mask == 1) & half) == tuple(box)
            # No piece of the mask fills this box: it keeps what it had around it.
            assert np.abs(found["box"][2] - loose[0]).max() < 12
            assert tuple(found["box"][2]) != box_of(mask == 4)

    def test_masks_move_with_the_picture(self, run: Path) -> None:
        transform = neighbord(run).set_random_state(2)
        for _ in range(3):
            found = transform(with_disc())
            mask = found["mask"][0].numpy() > 0
            shown = bright(found["image"])
            assert (mask & shown).sum() / (mask | shown).sum() > 0.95

    def test_a_draw_that_loses_a_box_is_not_applied(self, run: Path) -> None:
        given = with_disc(box=np.array([[30.0, 40.0, 60.0, 70.0], [200.0, 200.0, 210.0, 210.0]]))
        found = neighbord(run)(given)
        np.testing.assert_array_equal(found["image"], given["image"])
        np.testing.assert_array_equal(found["box"], given["box"])
        assert not found["image"].applied_operations[0]["extra_info"]["moved"]

    def test_no_boxes(self, run: Path) -> None:
        found = neighbord(run)(with_disc(box=np.zeros(0, dtype=np.float32)))
        assert found["box"].shape == (0, 4)


class TestLoaders:
    @pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
    def test_reproducible_in_workers(self, run: Path) -> None:
        boxes = {"image_keys": "image", "box_keys": "box", "box_ref_image_keys": "image"}
        chain = Compose([neighbord(run, prob=0.8), RandFlipBoxd(**boxes, prob=0.5)])

        def batches() -> list[dict[str, torch.Tensor]]:
            with determinism(7):
                data = CacheDataset([item()] * 6, chain, num_workers=None, progress=False)
                return list(DataLoader(data, batch_size=1, num_workers=2))

        first, second = batches(), batches()
        for one, other in zip(first, second, strict=True):
            for key in ("image", "mask", "box"):
                assert torch.equal(one[key], other[key])
        # The loader gives every other item to the same worker.
        assert not torch.equal(first[0]["image"], first[1]["image"])
        assert len({batch["image"].numpy().tobytes() for batch in first}) > 4


class TestWrongUse:
    @pytest.mark.parametrize(
        ("choices", "message"),
        [
            (
                {"sampler": "interpolate"},
                "cannot draw near a picture alone; choose from prior, posterior, gaussian, dir",
            ),
            ({"sampler": "align"}, "cannot draw near a picture alone"),
            ({"sampler": "other"}, "cannot draw near a picture alone"),
            ({"strength": -1.0}, "strength of gaussian must be from 0 on, but is -1"),
            ({"strength": np.nan}, "strength of gaussian must be"),
            ({"sampler": "prior", "strength": 2.0}, "strength of prior must be from 0 to 1"),
            ({"render": "transplant"}, "unknown render 'transplant'"),
        ],
    )
    def test_choices(self, run: Path, choices: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageProblem, match=message):
            RandLatentNeighbor(run, **choices)

    def test_no_model(self, tmp_path: Path) -> None:
        with pytest.raises(UsageProblem, match="there is no such bundle"):
            RandLatentNeighbor(tmp_path / "none")

    def test_a_model_that_was_not_trained(self, tmp_path: Path) -> None:
        (tmp_path / "configs").mkdir()
        (tmp_path / "configs" / "metadata.json").write_text("{}")
        with pytest.raises(ReadError, match="no model here"):
            neighbord(tmp_path)(with_disc())

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"image": np.zeros((3, 64, 64))}, r"must be \[1, H, W\], but is \[3, 64, 64\]"),
            ({"image": np.zeros((64, 64))}, r"must be \[1, H, W\], but is \[64, 64\]"),
            ({"mask": np.zeros((1, 5, 5))}, r"as large as its picture, \[1, 128, 128\]"),
            ({"mask": np.full((1, 128, 128), 0.5)}, "must hold whole numbers"),
            ({"box": np.zeros((2, 6))}, r"boxes must be \[N, 4\], but are \[2, 6\]"),
        ],
    )
    def test_data(self, run: Path, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageProblem, match=message):
            neighbord(run)(with_disc(**changes))

    def test_modalities(self, studies: Path, tmp_path: Path) -> None:
        run = save_run(tmp_path, studies, ("CT", "MR"))
        with pytest.raises(UsageProblem, match="trained on CT, MR: say by modality which"):
            neighbord(run)(with_disc())
        with pytest.raises(UsageProblem, match="trained on CT, MR, not on DX"):
            neighbord(run, modality="DX")(with_disc())
        assert neighbord(run, modality="CT")(with_disc())["image"].shape == (1, 128, 128)
