"""Studies, a bundle and a bank that all tests of transforms share."""

from __future__ import annotations

from pathlib import Path

import pytest

from heads import save_heads, save_run
from medvae.transforms import TransplantBank


@pytest.fixture(scope="session")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four patients with a series of four slices each, and their labels in COCO."""
    return save_heads(tmp_path_factory.mktemp("studies"))


@pytest.fixture(scope="session")
def run(studies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained bundle for them."""
    return save_run(tmp_path_factory.mktemp("run"), studies)


@pytest.fixture(scope="session")
def bank(studies: Path, run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank of their lesions."""
    folder = tmp_path_factory.mktemp("banks") / "bank"
    TransplantBank.build(folder, [studies], labels=studies / "coco.json", model=run)
    return folder
