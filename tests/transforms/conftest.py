"""Studies, a bundle and a bank that all tests of transforms share."""

from __future__ import annotations

from pathlib import Path

import pytest

from medvae.transforms import TransplantBank


@pytest.fixture(scope="session")
def bank(studies: Path, run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank of their lesions."""
    folder = tmp_path_factory.mktemp("banks") / "bank"
    TransplantBank.build(folder, [studies], labels=studies / "coco.json", model=run)
    return folder
