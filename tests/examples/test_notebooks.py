"""The notebooks run as they are, on the sample."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from notebooks import NOTEBOOKS, executed

LARGEST = 400_000
"""Bytes of a notebook with its outputs, so that a clone stays small."""


def test_there_are_some() -> None:
    assert len(NOTEBOOKS) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # what it writes is gone with this test
    notebook = executed(path, tmp_path)
    outputs = [one for cell in notebook.cells for one in cell.get("outputs", [])]
    assert any("image/png" in one.get("data", {}) for one in outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_small_and_names_no_folder_of_its_author(path: Path) -> None:
    assert path.stat().st_size < LARGEST
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    outputs = str([cell.get("outputs") for cell in notebook.cells])
    assert re.findall(r"/(?:home|root|tmp|Users)/", outputs) == []
