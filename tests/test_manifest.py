"""The manifest: whole lines, whole batches, and a folder that belongs to one run."""

from __future__ import annotations

from pathlib import Path

import pytest

from medvae.errors import ReadError, UsageProblem
from medvae.manifest import Manifest, ManifestLine, claim, remove_unfinished
from medvae.records import Labels

ORDER = {"seed": 0, "model": "abc"}


def lines(batch: str, *keys: str) -> list[ManifestLine]:
    return [
        ManifestLine(
            key=key,
            batch=batch,
            reason=None,
            sources=("a slice",),
            groups=("a patient",),
            copy=1,
            render="warp",
            sampler="gaussian",
            strength=0.5,
            seed=f"0/{key}",
            partner=None,
            gates={"copy distance": 0.25},
            numbers={"least_jacobian": None},
            shape=(8, 8),
            files=(f"images/png/{key}.png",),
            labels=Labels(),
            labelled=True,
            model="abc",
        )
        for key in keys
    ]


def test_lines_come_back(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    manifest.add(lines("one", "a", "b"))
    manifest.add(lines("two", "c"))
    assert Manifest(tmp_path).lines == manifest.lines == lines("one", "a", "b") + lines("two", "c")


def test_what_a_killed_run_left_of_its_last_batch_is_forgotten(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    manifest.add(lines("one", "a", "b"))
    manifest.add(lines("two", "c", "d"))
    with manifest.path.open("ab") as file:
        file.write(b'{"key": "e", "ba')
    again = Manifest(tmp_path)
    assert again.keep_whole(["one", "two", "three"]) == 1
    assert again.lines == lines("one", "a", "b")
    again.add(lines("two", "c", "d"))
    again.add(lines("three", "e"))
    assert Manifest(tmp_path).lines == again.lines
    assert [line.key for line in again.lines] == ["a", "b", "c", "d", "e"]


def test_a_run_that_is_killed_again_before_it_made_anything_loses_nothing(tmp_path: Path) -> None:
    Manifest(tmp_path).add(lines("one", "a", "b"))
    for _ in range(2):
        assert Manifest(tmp_path).keep_whole(["one", "two"]) == 0
    assert Manifest(tmp_path).lines == lines("one", "a", "b")


def test_half_a_line_of_the_first_batch_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text('{"key": "a", "ba')
    manifest = Manifest(tmp_path)
    assert manifest.keep_whole(["one"]) == 0
    manifest.add(lines("one", "a"))
    assert Manifest(tmp_path).lines == lines("one", "a")


def test_a_new_run_has_none(tmp_path: Path) -> None:
    assert Manifest(tmp_path).keep_whole(["one"]) == 0


def test_damaged_line_is_named(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    manifest.add(lines("one", "a", "b"))
    with manifest.path.open("ab") as file:
        file.write(b"nonsense\n{}\n")
    with pytest.raises(ReadError, match=r"manifest\.jsonl, line 3: cannot be read as JSON"):
        Manifest(tmp_path)


def test_order_that_is_damaged(tmp_path: Path) -> None:
    for text in ("[]", '{"seed": ', "[" * 100_000):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(UsageProblem, match=r"run\.json: ") as caught:
            claim(tmp_path, ORDER, resume=True)
        assert "\n" not in str(caught.value)


def test_folder_is_claimed_once(tmp_path: Path) -> None:
    claim(tmp_path / "out", ORDER, resume=False)
    claim(tmp_path / "out", ORDER, resume=True)
    with pytest.raises(UsageProblem, match="holds a run; resume it"):
        claim(tmp_path / "out", ORDER, resume=False)
    with pytest.raises(
        UsageProblem, match="holds a run with another seed; resume it with the same arguments"
    ):
        claim(tmp_path / "out", ORDER | {"seed": 1}, resume=True)


def test_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(UsageProblem, match="is not empty, and nothing is overwritten"):
            claim(tmp_path, ORDER, resume)
    with pytest.raises(UsageProblem, match="is not a directory"):
        claim(tmp_path / "thesis.txt", ORDER, resume=False)


def test_unfinished_files_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    claim(tmp_path, ORDER, resume=False)
    part = tmp_path / "images" / ".a.png.123.part"
    part.parent.mkdir()
    part.write_text("half")
    remove_unfinished(tmp_path)
    assert not part.exists()
