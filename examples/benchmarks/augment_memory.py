"""Measure the memory needed to augment many studies, compared with a few.

    python examples/benchmarks/augment_memory.py

Studies of eight 256x256 slices are generated, and augmented with a small network that has random
weights: every slice is warped, or every lesion transplanted. Each augmentation runs in a process of
its own. Its peak is its highest resident memory plus that of each worker running at the time. Exit
code 1 means that a target was missed: peaks for 10 and 500 studies within 15 % of each other.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

import medvae
from drawn_studies import save_run, save_studies
from medvae.networks import ConvDecoder, GrayToColor, PlainEncoder, SliceVAE, VectorLatent

AIM = 0.15
RENDERS = ("warp", "transplant")
SLICES, SIDE = 8, 256


def main() -> None:
    """Run the benchmark and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--few", type=int, default=10, help="studies")
    parser.add_argument("--many", type=int, default=500, help="studies")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        studies, run, out, render = arguments.measure
        print(peak(Path(studies), Path(run), Path(out), render, arguments.workers))
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), arguments.few, arguments.many, arguments.workers)
    print(json.dumps(figures, indent=2))
    sys.exit(0 if all(abs(found["ratio"] - 1) <= AIM for found in figures.values()) else 1)


def measure(scratch: Path, few: int, many: int, workers: int) -> dict[str, dict[str, float]]:
    """Augment few and many studies with each renderer."""
    for count in (few, many):
        save_studies(scratch / str(count), count, SLICES, SIDE)
    torch.manual_seed(0)
    network = SliceVAE(
        GrayToColor(), PlainEncoder((16, 32)), VectorLatent(), ConvDecoder((32, 16)), image_size=64
    )
    run = save_run(scratch / "run", network, scratch / str(few))
    figures = {}
    for render in RENDERS:
        peaks = {}
        for count in (few, many):
            out = scratch / f"{render}-{count}"
            what = [str(scratch / str(count)), str(run), str(out), render]
            command = [sys.executable, __file__, "--workers", str(workers), "--measure", *what]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            peaks[count] = float(done.stdout)
        figures[render] = {
            "ratio": round(peaks[many] / peaks[few], 3),
            **{f"MiB, {count} studies": round(found, 1) for count, found in peaks.items()},
        }
    return figures


def peak(studies: Path, run: Path, out: Path, render: str, workers: int) -> float:
    """Augment studies and return the peak memory of this process and its workers, in MiB."""
    most = 0.0

    def look(what: str, done: int, total: int, beside: str) -> None:
        nonlocal most
        if done % SLICES == 0 or done == total:
            workers_now = Path("/proc/self/task").glob("*/children")
            processes = ["self", *" ".join(path.read_text() for path in workers_now).split()]
            most = max(most, sum(map(high_water_mark, processes)))

    medvae.augment(
        [studies],
        run,
        out,
        labels=studies / "coco.json",
        render=render,
        strength=1.0,
        formats=("png",),
        workers=workers,
        progress=look,
    )
    look("", 0, 0, "")
    return most


def high_water_mark(process: str) -> float:
    """Return the peak resident memory of a process in MiB, or 0 if it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main()
