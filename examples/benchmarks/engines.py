"""Measure how fast the engines of `medvae augment` are, compared with two threads of one process.

    python examples/benchmarks/engines.py

The sample is augmented with `cardiac_mr_vae` by two threads, by two actors of Ray, and by two
shards in processes of their own. The time of a run with few draws is subtracted, so that the
figures are those of many draws; it is given as well. Exit code 1 means that Ray is less than 0.9
times as fast as the threads, or that the results differ.

The time of the threads is also given by stage: until the first slice is encoded, encoding, from
there until the first batch is made, making, and joining. From the seconds of a batch and the
seconds that the command spends on each batch of an actor, a simulation derives the draws per second
of 10, 100 and 1000 actors that have as much to do for each as in this run. It leaves out the file
system, which all of them share.
"""

from __future__ import annotations

import argparse
import filecmp
import heapq
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import ray

import medvae
from medvae.augmentation._ray_engine import RayEngine

SAMPLE = Path(__file__).parents[2] / "medvae" / "sample"
SLICES, BATCH, WORKERS = 36, 16, 2
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
        marks = stages(Path(folder) / "stages", copies)
    total = sum(marks.values())
    figures |= {f"{name}, share of the time": round(t / total, 3) for name, t in marks.items()}
    batch = WORKERS * marks["making"] * BATCH / figures["draws"]
    asking = seconds_of_asking()
    figures["milliseconds of a batch"] = round(1000 * batch, 1)
    figures["milliseconds of the command for a batch"] = round(1000 * asking, 2)
    for workers in (10, 100, 1000):
        speed = BATCH * simulated(workers, round(figures["draws"] / WORKERS / BATCH), batch, asking)
        figures[f"{workers} actors (simulated), draws a second"] = round(speed)
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


def stages(out: Path, copies: int) -> dict[str, float]:
    """Augment by two threads, and return the seconds of each stage."""
    marks: dict[str, list[float]] = {}

    def note(stage: str, done: int, total: int, beside: str) -> None:
        marks.setdefault(stage, []).append(time.perf_counter())

    start = time.perf_counter()
    medvae.augment(
        SAMPLE,
        "cardiac_mr_vae",
        out,
        labels=SAMPLE / "coco.json",
        render="warp",
        copies=copies,
        workers=WORKERS,
        progress=note,
    )
    end = time.perf_counter()
    encoding, making = marks["Encoding slices"], marks["Making slices"]
    # The first batch of a stage ends about as long after its beginning as the second one after it.
    first = making[0] - (making[-1] - making[0]) / (len(making) - 1) * WORKERS
    return {
        "reading and encoding": encoding[-1] - start,
        "planning": first - encoding[-1],
        "making": making[-1] - first,
        "joining": end - making[-1],
    }


class Nothing:
    """A stage that returns at once as much as a batch does."""

    def __call__(self, number: int) -> list[str]:
        return ["a line of the manifest, with its verdicts " * 20] * BATCH


def seconds_of_asking(count: int = 2000) -> float:
    """Return the seconds that the command spends on a batch, whatever the actors do."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]
    with RayEngine(WORKERS) as engine:
        start = time.process_time()
        for _ in engine.run(Nothing(), range(count), lambda index, lines: None):
            pass
        return (time.process_time() - start) / count


def simulated(workers: int, batches: int, batch: float, asking: float) -> float:
    """Return the batches per second of many actors, each of which makes some, two in advance."""
    ready = [0.0] * workers
    command = 0.0
    for _ in range(workers * batches):
        # An actor asks when it begins the last batch that it has; the command serves one at a time.
        done = heapq.heappop(ready)
        command = max(command, done - batch) + asking
        heapq.heappush(ready, max(command, done) + batch)
    return workers * batches / max(ready)


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
