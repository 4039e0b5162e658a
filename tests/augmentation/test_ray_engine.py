"""Ray runs the stages with the same bytes, whatever happens to its workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import medvae
from medvae.augmentation._ray_engine import RayEngine
from medvae.errors import ReadError, UsageProblem, WriteError
from outcomes import tree

ray = pytest.importorskip("ray")

pytestmark = pytest.mark.slow

MEDVAE = Path(sys.executable).with_name("medvae")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Ray on this machine, which the engines of all tests share."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


class Squares:
    """A stage that squares numbers, and does something else with one of them, once or always."""

    def __init__(self, folder: Path, number: int, what: str, always: bool = False) -> None:
        self.done, self.number, self.what, self.always = folder / "done", number, what, always

    def __call__(self, number: int) -> int:
        if number == self.number and (self.always or not self.done.exists()):
            self.done.touch()
            if self.what == "fail":
                raise WriteError("disk full", where="out")
            os.kill(os.getpid(), getattr(signal, self.what))
        return number**2


def squared(stage: Squares, count: int = 12, **options: Any) -> tuple[dict[int, int], list[int]]:
    """Run a stage on two workers; return its results, and the order in which they were yielded."""
    results: dict[int, int] = {}
    with RayEngine(2, **options) as engine:
        order = list(engine.run(stage, range(count), results.__setitem__))
    return results, order


@pytest.mark.usefixtures("cluster")
class TestWorkers:
    @pytest.mark.parametrize(("what", "patience"), [("SIGKILL", 900.0), ("SIGSTOP", 3.0)])
    def test_another_one_takes_over(self, tmp_path: Path, what: str, patience: float) -> None:
        results, order = squared(Squares(tmp_path, 3, what), patience=patience)
        assert (tmp_path / "done").exists()
        assert results == {number: number**2 for number in range(12)}
        assert order == list(range(12))

    def test_an_item_that_always_kills_them_is_reported(self, tmp_path: Path) -> None:
        with pytest.raises(ReadError, match=r"a batch cannot be processed: 3 workers were lost: "):
            squared(Squares(tmp_path, 3, "SIGKILL", always=True))

    def test_errors_of_a_stage_are_raised(self, tmp_path: Path) -> None:
        with pytest.raises(WriteError, match="out: disk full"):
            squared(Squares(tmp_path, 3, "fail"))

    def test_fewer_items_than_workers(self, tmp_path: Path) -> None:
        assert squared(Squares(tmp_path, 3, "fail"), count=1) == ({0: 0}, [0])
        assert squared(Squares(tmp_path, 3, "fail"), count=0) == ({}, [])


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("render", ["warp", "transplant"])
def test_it_writes_the_same_bytes(
    volumes: Path, volume_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, render: str
) -> None:
    monkeypatch.setenv("MEDVAE_SECRET", "kept")
    monkeypatch.chdir(volumes.parent)
    choices: dict[str, Any] = {"render": render, "copies": 2, "workers": 2}
    for engine in ("local", "ray"):
        medvae.augment(
            volumes.name,
            volume_run,
            tmp_path / engine,
            labels=f"{volumes.name}/coco.json",
            engine=engine,
            **choices,
        )
    assert tree(tmp_path / "local") == tree(tmp_path / "ray")
    assert any((tmp_path / "ray" / "images").iterdir())


def augmented(studies: Path, run: Path, out: Path, *options: str) -> tuple[int, str]:
    """Augment studies in a process that has no connection to a cluster."""
    command = [MEDVAE, "augment", studies, "--model", run, "--out", out, *options]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--engine ray --address 127.0.0.1:1", "--address: cannot connect to 127.0.0.1:1: "),
        ("--address auto", "--address: applies to the engine ray only"),
        ("--gpus-per-worker 1", "--gpus-per-worker: applies to the engine ray only"),
    ],
)
def test_wrong_use_is_reported(
    volumes: Path, volume_run: Path, tmp_path: Path, options: str, message: str
) -> None:
    code, output = augmented(volumes, volume_run, tmp_path / "out", *options.split())
    assert (code, message in output) == (2, True), output
    assert not list((tmp_path / "out").glob("*"))


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageProblem, match=r"engine: ray is not installed.*medvae\[ray\]"):
        RayEngine()
