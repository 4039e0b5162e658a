"""Shards, such as the tasks of a SLURM array, do one run together."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from medvae import augment
from medvae.errors import ReadError, UsageProblem
from outcomes import tree

MEDVAE = Path(sys.executable).with_name("medvae")
COUNT = 3


def together(volumes: Path, run: Path, out: Path, **choices: Any) -> list[tuple[int, ...]]:
    """Run all shards at once; return the shards that each of them found unfinished at its end."""

    def one(number: int) -> tuple[int, ...]:
        made = augment(
            volumes,
            run,
            out,
            labels=volumes / "coco.json",
            shard=f"{number}/{COUNT}",
            shard_timeout=300.0,
            workers=1,
            **choices,
        )
        assert (made.preview is None) == bool(made.waiting_for)
        return made.waiting_for

    with ThreadPoolExecutor(COUNT) as pool:
        return list(pool.map(one, range(1, COUNT + 1)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "choices",
    [
        {"render": "warp", "copies": 3, "merge": True},
        {"render": "transplant", "copies": 12, "label_formats": ("coco", "yolo")},
        {"render": "transplant+warp", "per": "study"},
    ],
    ids=lambda choices: choices["render"],
)
def test_they_write_the_same_bytes(
    volumes: Path, volume_run: Path, tmp_path: Path, choices: dict[str, Any]
) -> None:
    augment(volumes, volume_run, tmp_path / "one", labels=volumes / "coco.json", **choices)
    found = together(volumes, volume_run, tmp_path / "many", **choices)
    assert () in found
    whole = tree(tmp_path / "one")
    assert tree(tmp_path / "many") == whole
    assert any(name.startswith("images/") for name in whole)
    # Repeated, a shard finds everything finished, and changes nothing.
    assert together(volumes, volume_run, tmp_path / "many", **choices) == [()] * COUNT
    assert tree(tmp_path / "many") == whole


def test_slices_to_align_to_are_shared_as_well(
    volumes: Path, volume_run: Path, tmp_path: Path
) -> None:
    choices: dict[str, Any] = {"render": "warp", "sampler": "align", "align_to": volumes}
    augment(volumes, volume_run, tmp_path / "one", labels=volumes / "coco.json", **choices)
    together(volumes, volume_run, tmp_path / "many", **choices)
    assert tree(tmp_path / "many") == tree(tmp_path / "one")


@pytest.mark.slow
@pytest.mark.parametrize("killed_in", ["encode", "make"])
def test_a_shard_that_was_killed_is_run_again(
    volumes: Path, volume_run: Path, tmp_path: Path, killed_in: str
) -> None:
    choices: dict[str, Any] = {"render": "warp", "copies": 9}
    augment(volumes, volume_run, tmp_path / "one", labels=volumes / "coco.json", **choices)
    out = tmp_path / "many"
    shards = out.with_name("many.shards")
    command = [MEDVAE, "augment", volumes, "--model", volume_run, "--out", out, "--workers", "1"]
    command += ["--labels", volumes / "coco.json", "--render", "warp", "--copies", "9"]
    started = [
        subprocess.Popen([*command, "--shard", f"{number}/{COUNT}"], stdout=subprocess.DEVNULL)
        for number in ((2,) if killed_in == "encode" else (1, 2, 3))
    ]
    victim = started[0 if killed_in == "encode" else 1]
    sign = shards / "2" if killed_in == "encode" else shards / "2" / "manifest.jsonl"
    while not sign.exists() and victim.poll() is None:
        time.sleep(0.01)
    victim.kill()
    for process in started:
        process.wait()
    assert not (shards / "joined").exists()
    assert not (out / "coco.json").exists()
    together(volumes, volume_run, out, **choices)
    assert tree(out) == tree(tmp_path / "one")


@pytest.mark.slow
def test_a_slurm_array_runs_the_script(volumes: Path, volume_run: Path, tmp_path: Path) -> None:
    augment(volumes, volume_run, tmp_path / "one", labels=volumes / "coco.json", render="warp")
    script = Path(__file__).parents[2] / "examples" / "clusters" / "augment.sbatch"
    words: list[str | Path] = ["bash", script, volumes, "--labels", volumes / "coco.json"]
    words += ["--model", volume_run, "--out", tmp_path / "many", "--render", "warp"]
    path = f"{MEDVAE.parent}{os.pathsep}{os.environ['PATH']}"
    tasks = [
        subprocess.Popen(
            words,
            env=os.environ
            | {"PATH": path, "SLURM_ARRAY_TASK_ID": str(number), "SLURM_ARRAY_TASK_COUNT": "2"},
            stdout=subprocess.DEVNULL,
        )
        for number in (1, 2)
    ]
    assert [task.wait() for task in tasks] == [0, 0]
    assert tree(tmp_path / "many") == tree(tmp_path / "one")


def test_a_missing_shard_is_named(volumes: Path, volume_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"slices is missing from shards 1, 3 of 3 after 0 seconds"):
        augment(volumes, volume_run, tmp_path / "out", shard="2/3", shard_timeout=0)


def test_what_is_stored_is_checked(volumes: Path, volume_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for number in (1, 2):
        with pytest.raises(ReadError, match="is missing from shard"):
            augment(volumes, volume_run, out, shard=f"{number}/{COUNT}", shard_timeout=0)
    damaged = tmp_path / "out.shards" / "2" / "slices.npz"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    with pytest.raises(ReadError, match=r"2/slices\.npz: is damaged; remove it and run its shard"):
        augment(volumes, volume_run, out, shard=f"3/{COUNT}")
    with pytest.raises(UsageProblem, match=r"shard: the run was begun with 3 shards, not 4; use 3"):
        augment(volumes, volume_run, out, shard="2/4")
    with pytest.raises(UsageProblem, match="holds a run with another seed"):
        augment(volumes, volume_run, out, shard="1/3", seed=1)
    shutil.rmtree(tmp_path / "out.shards")


@pytest.mark.parametrize("spec", ["", "3", "0/3", "4/3", "1/0", "-1/3", "1/3/5", "a/b", "1.5/3"])
def test_wrong_specifications(volume_run: Path, tmp_path: Path, spec: str) -> None:
    with pytest.raises(UsageProblem, match="shard: must be"):
        augment(tmp_path, volume_run, tmp_path / "out", shard=spec)


def test_a_dry_run_has_no_shards(volume_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="shard: a dry run has no shards"):
        augment(tmp_path, volume_run, tmp_path / "out", shard="1/3", dry_run=True)
