"""The sets of an audit: what an augmentation wrote is read as it was made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medvae.auditing._augmented import read_augmented
from medvae.auditing._decoded import decode
from medvae.auditing._sets import read_studies
from medvae.augmentation import augment
from medvae.errors import ReadError
from medvae.manifest import Manifest


@pytest.mark.parametrize(
    ("written", "per"),
    [("dicom", "slice"), ("nifti", "study"), ("nifti", "slice"), ("png", "slice")],
)
def test_slices_come_back_in_every_format(
    studies: Path, run: Path, tmp_path: Path, written: str, per: str
) -> None:
    labels = studies / "coco.json"
    choices = {"render": "warp", "strength": 0.0, "per": per, "formats": (written,), "workers": 2}
    augment([studies], run, tmp_path / "out", labels=labels, **choices)
    real = read_studies("real", [studies], labels)
    made = read_augmented(tmp_path / "out", real)
    pictures = [decode(one, 32, None, tmp_path / "folder") for one in (real, made)]
    rows = {one.native.key: row for row, one in enumerate(pictures[0].set.slices)}
    assert len(pictures[1]) == len(rows) == 16
    for row, one in enumerate(pictures[1].set.slices):
        (source,) = set(one.sources or ())
        own = pictures[0].set.slices[rows[source]]
        shown, expected = pictures[1].pool.pictures[row], pictures[0].pool.pictures[rows[source]]
        assert np.array_equal(shown, expected)
        assert one.groups == own.groups
        assert one.native.labels == own.native.labels
        assert one.native.modality == "MR"
    assert not list((tmp_path / "folder").iterdir())


def test_transplants_have_both_patients(studies: Path, augmented: Path) -> None:
    real = read_studies("real", [studies], studies / "coco.json")
    made = read_augmented(augmented, real)
    assert len(made.slices) == Manifest(augmented).kept
    assert made.augmentation is not None
    assert made.augmentation["render"] == "auto"
    for one in made.slices:
        assert len(one.groups) == len(one.sources or ()) == 2
        assert set(one.groups) <= real.patients
        assert one.native.labels


def test_an_augmentation_that_kept_nothing(studies: Path, tmp_path: Path) -> None:
    line = {
        "key": "a",
        "batch": "b",
        "outcome": "rejected",
        "reason": "field",
        "sources": ["slice"],
        "groups": ["patient"],
        "copy": 1,
        "render": "warp",
        "sampler": None,
        "strength": None,
        "seed": "0",
        "partner": None,
        "gates": {},
        "numbers": {},
        "shape": [8, 8],
        "files": [],
        "labels": [],
        "labelled": False,
        "model": "m",
    }
    (tmp_path / "manifest.jsonl").write_text(json.dumps(line) + "\n")
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ReadError, match="the synthetic set is empty: no slice was kept"):
        read_augmented(tmp_path, read_studies("real", [studies]))


def test_a_file_that_is_gone(studies: Path, run: Path, tmp_path: Path) -> None:
    augment([studies], run, tmp_path / "out", render="warp", strength=0.0)
    next((tmp_path / "out").rglob("*.png")).unlink()
    with pytest.raises(ReadError, match="but the manifest says that it was written"):
        read_augmented(tmp_path / "out", read_studies("real", [studies]))
