"""Studies and a bundle that all tests of the augmentation share."""

from __future__ import annotations

from pathlib import Path

import pytest

from heads import save_heads, save_run


@pytest.fixture(scope="session")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four patients with a series of four slices each, and their labels in COCO."""
    return save_heads(tmp_path_factory.mktemp("studies"))


@pytest.fixture(scope="session")
def run(studies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained bundle for them."""
    return save_run(tmp_path_factory.mktemp("run"), studies)
