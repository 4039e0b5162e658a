"""What tests in several folders share."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Each worker has a core; as many threads as cores in each would only get in each other's way.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

Once = Callable[[str, Callable[[Path], object]], Path]
"""Gives the folder of a name, which the function has made."""

FORKING = (
    "augmentation/test_augment.py",
    "cli/test_output_folders.py",
    "training/test_step_memory.py",
    "training/test_train.py",
)
"""Files whose tests fork processes, all in one worker, so that one server imports for them all."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Give each file to one worker, and the files that fork to the same."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = str(super()._split_scope(nodeid))
            return "forking" if file.endswith(FORKING) else file

    return ByFile(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def fork() -> Iterator[ForkServerContext]:
    """A server that has imported all there is to import, from which processes are forked."""
    fork = multiprocessing.get_context("forkserver")
    fork.set_forkserver_preload(["medvae.augmentation", "medvae.training", "medvae_cli.main"])
    ready = fork.Process(target=int)
    ready.start()
    ready.join()
    yield fork
    forkserver._forkserver._stop()  # else it would outlive the tests, and its time not be theirs


@pytest.fixture(scope="session")
def once(
    tmp_path_factory: pytest.TempPathFactory,
) -> Once:
    """Make a folder by a function in one worker, of which all of them have the use."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def made(name: str, make: Callable[[Path], object]) -> Path:
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (root / name).exists():
                make(root / "unfinished" / name)
                (root / "unfinished" / name).rename(root / name)
        return root / name

    return made


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
def sample_run(once: Once) -> Path:
    """A small model of the sample, good enough for its warps to pass the gates."""
    from medvae.demo import SAMPLE
    from medvae.training import train

    settings = {"image_size": 32, "epochs": 10, "batch_size": 6, "amp": False}
    return once(
        "sample_run",
        lambda out: train([SAMPLE], "slice_vae", out, variant="plain", settings=settings),
    )
