"""What tests in several folders share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Each worker has a core; as many threads as cores in each would only get in each other's way.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four patients with a series of four slices each, and their labels in COCO."""
    from heads import save_heads

    return save_heads(tmp_path_factory.mktemp("studies"))


@pytest.fixture(scope="session")
def run(studies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained bundle for them."""
    from heads import save_run

    return save_run(tmp_path_factory.mktemp("run"), studies)


@pytest.fixture(scope="session")
def sample_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of the sample, good enough for its warps to pass the gates."""
    from medvae.demo import SAMPLE
    from medvae.training import train

    out = tmp_path_factory.mktemp("sample") / "run"
    settings = {"image_size": 32, "epochs": 10, "batch_size": 6, "amp": False}
    train([SAMPLE], "slice_vae", out, variant="plain", settings=settings)
    return out
