"""The notebooks run as they are, on the sample."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from notebooks import NOTEBOOKS, executed, kernel

LARGEST = 400_000
"""Bytes of a notebook with its outputs, so that a clone stays small."""


def test_there_are_some() -> None:
    assert len(NOTEBOOKS) >= 4


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NotebookClient]:
    """A kernel for all of them."""
    folder = tmp_path_factory.mktemp("notebooks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))  # what they write is gone with this test
        with kernel(folder) as client:
            yield client


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path: Path, client: NotebookClient) -> None:
    notebook = executed(path, client)
    outputs = [one for cell in notebook.cells for one in cell.get("outputs", [])]
    assert any("image/png" in one.get("data", {}) for one in outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_small_and_names_no_folder_of_its_author(path: Path) -> None:
    assert path.stat().st_size < LARGEST
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    outputs = str([cell.get("outputs") for cell in notebook.cells])
    assert re.findall(r"/(?:home|root|tmp|Users)/", outputs) == []
