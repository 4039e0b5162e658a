"""Measure how fast studies are scanned and read, compared with a plain pydicom loop, and how much
memory a study of 2000 slices takes.

    python examples/benchmarks/reading.py FOLDER...

FOLDER holds DICOM files that pydicom can read, such as a CT and an MR series. Exit code 1 means
that a target was missed: scanning in at most 1.5 times the time of a loop that reads headers,
reading pixels at least as fast as a loop that decodes them, and at most 400 MiB above the
interpreter for 2000 slices of 512x512.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from pydicom import Dataset, uid
from pydicom.dataset import FileMetaDataset

from medvae.errors import DecodeError
from medvae.readers import open_studies, read_pixels
from medvae.records import Pixels


def main() -> None:
    """Run the benchmark and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--slices", type=int, default=2000)
    parser.add_argument("--measure-memory", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure_memory:
        print(json.dumps(peak_memory(arguments.measure_memory)))
        return
    figures = speed(arguments.folders, arguments.rounds) | memory(arguments.slices)
    print(json.dumps(figures, indent=2))
    met = (
        figures["scan / header loop"] <= 1.5
        and figures["pixel loop / read_pixels"] >= 1
        and figures["MiB above the interpreter, all processes"] <= 400
    )
    sys.exit(0 if met else 1)


def speed(folders: list[Path], rounds: int) -> dict[str, float]:
    """Time all four in turn, so that changes in the speed of the machine affect all alike."""
    files = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    start = time.perf_counter()
    slices = list(open_studies(folders).slices)
    first = time.perf_counter() - start
    tasks: dict[str, Callable[[], object]] = {
        "header loop": lambda: [pydicom.dcmread(f, stop_before_pixels=True) for f in files],
        "scan": lambda: open_studies(folders),
        "pixel loop": lambda: [pydicom.dcmread(f).pixel_array.sum() for f in files],
        "read_pixels": lambda: [decoded(pixels).values.sum() for _, pixels in read_pixels(slices)],
    }
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            seconds[name].append(time.perf_counter() - start)
    scan = [a / b for a, b in zip(seconds["scan"], seconds["header loop"], strict=True)]
    read = [a / b for a, b in zip(seconds["pixel loop"], seconds["read_pixels"], strict=True)]
    return {
        "files": len(files),
        "scan / header loop": round(statistics.median(scan), 2),
        "pixel loop / read_pixels": round(statistics.median(read), 2),
        "seconds of the first scan, which starts the workers": round(first, 2),
        **{
            f"ms a file, {name}": round(1000 * statistics.median(times) / len(files), 3)
            for name, times in seconds.items()
        },
    }


def decoded(pixels: Pixels | DecodeError) -> Pixels:
    """Return pixels, or fail, because a slice without pixels would make reading look fast."""
    if isinstance(pixels, DecodeError):
        raise pixels
    return pixels


def memory(count: int) -> dict[str, float]:
    """Write a study and measure the memory of another process that reads it."""
    with tempfile.TemporaryDirectory() as folder:
        make_study(Path(folder), count)
        command = [sys.executable, __file__, folder, "--measure-memory", folder]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def peak_memory(folder: Path) -> dict[str, float]:
    """Read a study and return the memory growth of the process."""
    before = high_water_mark("self")
    count, workers = 0, 0.0
    for _, pixels in read_pixels(open_studies([folder]).slices):
        count += decoded(pixels).values.size > 0
        if count % 100 == 0:
            workers = sum(high_water_mark(child) for child in children())
    after = high_water_mark("self")
    return {
        "slices read": count,
        "MiB above the interpreter, all processes": round(after - before + workers, 1),
        "MiB above the interpreter, this process": round(after - before, 1),
        "MiB of the workers together": round(workers, 1),
    }


def high_water_mark(process: str) -> float:
    """Return the peak resident memory of a process in MiB."""
    status = Path(f"/proc/{process}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def children() -> list[str]:
    """Return the ids of the child processes."""
    processes = (path for path in Path("/proc").glob("[0-9]*") if (path / "stat").is_file())
    stats = {path.name: (path / "stat").read_text() for path in processes}
    own = str(os.getpid())
    return [name for name, stat in stats.items() if stat.rsplit(")", 1)[1].split()[1] == own]


def make_study(folder: Path, count: int) -> None:
    """Write a CT series of 512x512 slices, 0.5 MiB each."""
    noise = np.random.default_rng(0)
    for index in range(count):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        dataset.SOPClassUID = uid.CTImageStorage
        dataset.SOPInstanceUID = f"1.2.3.{index + 1}"
        dataset.StudyInstanceUID = "1.2"
        dataset.SeriesInstanceUID = "1.2.3"
        dataset.PatientID = "phantom"
        dataset.Modality = "CT"
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.ImagePositionPatient = [0, 0, index]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing = [0.7, 0.7]
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        dataset.Rows = dataset.Columns = 512
        dataset.SamplesPerPixel = 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.PixelRepresentation = 0
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit = 15
        dataset.PixelData = noise.integers(0, 4096, 512 * 512, dtype="uint16").tobytes()
        dataset.save_as(folder / f"{index}.dcm", enforce_file_format=True)


if __name__ == "__main__":
    main()
