"""Measure how fast the engines of `medvae augment` are, compared with two threads of one process.

    python examples/benchmarks/engines.py

The sample is augmented with `cardiac_mr_vae` by two threads, by two actors of Ray, and by two
shards in processes of their own. The time of a run without draws is subtracted, so that the figures
are those of many draws; it is given as well. Exit code 1 means that Ray is less than 0.9 times as
fast as the threads, or that the results differ.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

SAMPLE = Path(__file__).parents[2] / "medvae" / "sample"
SLICES = 36
AIM = 0.9

Engine = Callable[[Path, int], None]


def main() -> None:
    """Run the benchmark and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=2000)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    copies = -(-arguments.draws // SLICES)
    engines: dict[str, Engine] = {"threads": threads, "ray": on_ray, "shards": shards}
    figures: dict[str, float] = {"draws": SLICES * copies}
    with tempfile.TemporaryDirectory() as folder:
        for name, engine in engines.items():
            start, whole = (
                seconds(engine, Path(folder) / f"{name}-{count}", count) for count in (1, copies)
            )
            figures[f"{name}, seconds of {SLICES} draws"] = round(start, 1)
            figures[f"{name}, draws a second"] = round(SLICES * (copies - 1) / (whole - start), 1)
        results = [Path(folder) / f"{name}-{copies}" for name in engines]
        alike = all(same(results[0], other) for other in results[1:])
    ratio = figures["ray, draws a second"] / figures["threads, draws a second"]
    print(json.dumps({**figures, "ray / threads": round(ratio, 2), "same bytes": alike}, indent=2))
    sys.exit(0 if ratio >= AIM and alike else 1)


def seconds(engine: Engine, out: Path, copies: int) -> float:
    """Return the seconds that an engine takes."""
    start = time.perf_counter()
    engine(out, copies)
    return time.perf_counter() - start


def started(out: Path, copies: int, *options: str) -> subprocess.Popen[bytes]:
    """Start an augmentation of the sample."""
    command: list[str | Path] = [Path(sys.executable).with_name("medvae"), "augment", SAMPLE]
    command += ["--labels", SAMPLE / "coco.json", "--model", "cardiac_mr_vae", "--render", "warp"]
    command += ["--out", out, "--copies", str(copies), *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def finish(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait for processes, all of which must succeed."""
    codes = [process.wait() for process in processes]
    if any(codes):
        raise RuntimeError("an augmentation failed")


def threads(out: Path, copies: int) -> None:
    """Augment by two threads."""
    finish([started(out, copies, "--workers", "2")])


def on_ray(out: Path, copies: int) -> None:
    """Augment by two actors of Ray."""
    finish([started(out, copies, "--workers", "2", "--engine", "ray")])


def shards(out: Path, copies: int) -> None:
    """Augment by two shards."""
    finish([started(out, copies, "--workers", "1", "--shard", f"{n}/2") for n in (1, 2)])


def same(one: Path, other: Path) -> bool:
    """Return whether two folders have the same files with the same bytes."""
    names = [
        sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
        for folder in (one, other)
    ]
    return names[0] == names[1] and all(
        filecmp.cmp(one / name, other / name, shallow=False) for name in names[0]
    )


if __name__ == "__main__":
    main()
