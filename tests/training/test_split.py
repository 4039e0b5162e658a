"""Patients are split whole, by the seed or by a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medvae.errors import ReadError, UsageProblem
from medvae.readers import open_studies
from medvae.records import Slice
from medvae.split import make_split, read_split, write_split


@pytest.fixture
def slices(pictures: Path) -> list[Slice]:
    return list(open_studies([pictures]).slices)


def test_every_patient_is_on_one_side(slices: list[Slice]) -> None:
    split = make_split(slices, 0.4, seed=0)
    assert len(split.validation) == 2
    assert split.training | split.validation == {item.group for item in slices}
    assert not split.training & split.validation


def test_the_seed_decides(slices: list[Slice]) -> None:
    assert make_split(slices, 0.4, seed=0) == make_split(slices[::-1], 0.4, seed=0)
    assert len({make_split(slices, 0.4, seed=seed).validation for seed in range(9)}) > 1


def test_at_least_one_patient_is_on_either_side(slices: list[Slice]) -> None:
    assert len(make_split(slices, 0.001, seed=0).validation) == 1
    assert len(make_split(slices, 0.999, seed=0).training) == 1


def test_one_patient_cannot_be_split(slices: list[Slice]) -> None:
    alone = [item for item in slices if item.group == slices[0].group]
    with pytest.raises(UsageProblem, match="all slices belong to one patient"):
        make_split(alone, 0.2, seed=0)


def test_a_split_that_was_written_is_read(slices: list[Slice], tmp_path: Path) -> None:
    split = make_split(slices, 0.4, seed=3)
    write_split(tmp_path / "split.json", split)
    assert read_split(tmp_path / "split.json", slices) == split


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[", "cannot be read as JSON"),
        ("[" * 100_000, "is nested too deeply"),
        ('{"training": []}', "'validation' must be a list of strings, .* a split is JSON with"),
        ('{"training": "abc", "validation": ["b"]}', "'training' must be a list of strings"),
        ('{"training": ["a"], "validation": ["a"]}', "on both sides"),
        ('{"training": ["a"], "validation": ["b"]}', "none of the training patients"),
    ],
)
def test_a_wrong_split_is_refused(
    slices: list[Slice], tmp_path: Path, content: str, said: str
) -> None:
    (tmp_path / "split.json").write_text(content)
    with pytest.raises(ReadError, match=said):
        read_split(tmp_path / "split.json", slices)


def test_one_side_without_slices_is_refused(slices: list[Slice], tmp_path: Path) -> None:
    sides = {"training": [slices[0].group], "validation": ["nobody"]}
    (tmp_path / "split.json").write_text(json.dumps(sides))
    with pytest.raises(ReadError, match="none of the validation patients"):
        read_split(tmp_path / "split.json", slices)
