"""Real and synthetic phantoms that the tests of the audit share."""

from __future__ import annotations

from pathlib import Path

import pytest

from medvae.auditing import Audit, audit
from medvae.augmentation import augment


@pytest.fixture(scope="session")
def augmented(studies: Path, run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an augmentation of them wrote: transplants."""
    out = tmp_path_factory.mktemp("augmented") / "out"
    augment([studies], run, out, labels=studies / "coco.json", copies=4)
    return out


@pytest.fixture(scope="session")
def audited(
    studies: Path, run: Path, augmented: Path, tmp_path_factory: pytest.TempPathFactory
) -> Audit:
    """The report on it."""
    out = tmp_path_factory.mktemp("audited") / "report"
    return audit(
        [studies], augmented, out, labels=studies / "coco.json", model=run, epochs=1, device="cpu"
    )
