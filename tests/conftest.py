"""What tests in several folders share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Each worker has a core; as many threads as cores in each would only get in each other's way.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def sample_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of the sample, good enough for its warps to pass the gates."""
    from medvae.demo import SAMPLE
    from medvae.training import train

    out = tmp_path_factory.mktemp("sample") / "run"
    settings = {"image_size": 32, "epochs": 10, "batch_size": 6, "amp": False}
    train([SAMPLE], "slice_vae", out, variant="plain", settings=settings)
    return out
