"""Denoising: each slice becomes the model's reconstruction of it, at native size and units."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from medvae.bundle import load_run
from medvae.errors import DecodeError, UsageProblem, WriteError
from medvae.folders import output
from medvae.intensity import model_image
from medvae.networks import SliceVAE, inference_copy
from medvae.readers import open_studies, read_pixels, refuse_burned_in
from medvae.records import Pixels, Series, Slice
from medvae.writers import WRITERS, NewPixels, Synthesis

__all__ = ["Denoised", "Failure", "denoise"]

Progress = Callable[[int, int], None]
Decoded = tuple[Slice, Pixels | DecodeError]

_BATCH = 16
"""Slices that go through the network at once: they stay in the cache."""


@dataclass(frozen=True)
class Failure:
    """Something that could not be denoised.

    Attributes:
        where: the file; of a series that could not be written, the first one.
        why: what is wrong with it.
    """

    where: str
    why: str


@dataclass(frozen=True)
class Denoised:
    """What was written, and what was not.

    Attributes:
        files: in the order in which they were written.
        series, slices: how many of them are in these files.
        failures: each file that was refused, slice that could not be decoded, and series that
            could not be written.
    """

    files: tuple[Path, ...]
    series: int
    slices: int
    failures: tuple[Failure, ...]


def denoise(
    paths: Iterable[str | Path],
    model: str | Path,
    out: Path,
    *,
    modality: str | None = None,
    allow_burned_in: bool = False,
    formats: Sequence[str] = ("nifti",),
    workers: int | None = None,
    progress: Progress | None = None,
) -> Denoised:
    """Write studies as a model reconstructs them, from the posterior means of their slices.

    A slice that cannot be decoded is left out of its series, which is written without it. Memory
    is bounded by the largest series. Each patient has a folder ``sub-PSEUDONYM``, so that whoever
    reads the files can keep what belongs to one patient on one side of a split.

    Args:
        paths: files and folders.
        model: a trained bundle.
        out: a folder that is empty or not there yet.
        modality: taken for files that do not say.
        allow_burned_in: Denoise images whose headers say that text is burned into their pixels.
        formats: of the files written: ``nifti``, ``png``, ``dicom`` or several of them.
        workers: how many processes read; those already running by default.
        progress: is told how many files, and then how many slices, are done.

    Raises:
        UsageProblem: there is no such model or format, ``out`` holds something, or the model was
            trained on other modalities.
        ReadError: a path is not there, or the model is damaged.
        WriteError: the file system refuses; the message says what was written before.
    """
    _check_formats(formats)
    paths = list(paths)
    with output(out, paths) as folder:
        run = load_run(model)
        scan = open_studies(paths, modality=modality, workers=workers, progress=progress)
        if not allow_burned_in:
            scan = refuse_burned_in(scan)
        run.check_modalities(scan.slices)
        synthesis = Synthesis(
            run=f"denoise {run.digest} {run.intensity}",
            model=run.digest,
            render="reconstruction",
            allow_burned_in=allow_burned_in,
        )
        job = _Job(out, formats, inference_copy(run.model), run.intensity, synthesis)
        every = [series for study in scan.studies for series in study.series]
        slices = [native for series in every for native in series.slices]
        decoded = _counted(read_pixels(slices, workers), len(slices), progress)
        for series in every:
            folder.finished = f"{job.series} of {len(every)} series are finished"
            job.do(series, islice(decoded, len(series.slices)))
        refused = [Failure(str(f.path), f.reason) for f in scan.files if f.outcome == "refused"]
        return Denoised(tuple(job.files), job.series, job.slices, (*refused, *job.failures))


def _check_formats(formats: Sequence[str]) -> None:
    unknown = [name for name in formats if name not in WRITERS]
    if unknown or not formats:
        names = ", ".join(unknown) or "nothing"
        raise UsageProblem(f"format {names}: cannot be written; give {' or '.join(WRITERS)}")


def _counted(
    decoded: Iterable[Decoded], total: int, progress: Progress | None
) -> Iterator[Decoded]:
    for done, item in enumerate(decoded, 1):
        if progress is not None:
            progress(done, total)
        yield item


class _Job:
    """Denoises series after series, and keeps account.

    Args:
        out: the folder for all patients.
        formats: names of the writers.
        model: what reconstructs.
        intensity: the spec of its intensity map; None for that of each modality.
        synthesis: what the files say of how they were made.
    """

    def __init__(
        self,
        out: Path,
        formats: Sequence[str],
        model: SliceVAE,
        intensity: str | None,
        synthesis: Synthesis,
    ) -> None:
        self.files: list[Path] = []
        self.failures: list[Failure] = []
        self.series = 0
        self.slices = 0
        self._out = out
        self._formats = tuple(dict.fromkeys(formats))
        self._model = model
        self._intensity = intensity
        self._synthesis = synthesis

    def do(self, series: Series, decoded: Iterator[Decoded]) -> None:
        """Denoise a series, whose slices are decoded meanwhile, and write what there is of it.

        Raises:
            WriteError: the file system refuses.
        """
        done: list[tuple[Slice, NewPixels]] = []
        while batch := list(islice(decoded, _BATCH)):
            done += self._denoised(batch)
        if not done:
            return
        whole = replace(series, slices=tuple(native for native, _ in done))
        pixels = [new for _, new in done]
        before = len(self.files)
        for name in self._formats:
            try:
                self.files += WRITERS[name](self._out / f"sub-{done[0][0].group}", whole, pixels)
            except WriteError as error:
                if isinstance(error.__cause__, OSError):
                    raise  # the file system refuses, and would refuse all others too
                self._fail(done[0][0], error)
        if len(self.files) > before:
            self.series += 1
            self.slices += len(done)

    def _denoised(self, batch: Iterable[Decoded]) -> Iterator[tuple[Slice, NewPixels]]:
        good: list[tuple[Slice, Pixels]] = []
        for native, pixels in batch:
            if isinstance(pixels, DecodeError):
                self._fail(native, pixels)
            else:
                good.append((native, pixels))
        values = _reconstructed(self._model, good, self._intensity)
        for (native, pixels), new in zip(good, values, strict=True):
            try:
                yield native, NewPixels.of(pixels, new, self._synthesis)
            except WriteError as error:
                self._fail(native, error)

    def _fail(self, native: Slice, error: DecodeError | WriteError) -> None:
        where = str(native.source.path)
        self.failures.append(Failure(where, error.reason))


def _reconstructed(
    model: SliceVAE, slices: Sequence[tuple[Slice, Pixels]], spec: str | None
) -> Iterator[NDArray[np.float32]]:
    """Give the new values of each slice, ``[rows, columns]``, in real units."""
    if not slices:
        return
    seen = [model_image(*one, model.image_size, spec) for one in slices]
    images = torch.from_numpy(np.stack([image for image, _, _ in seen]))
    with torch.inference_mode():
        mu, _ = model.encode(images[:, None])
        pictures = model.decode(mu).mean(dim=1).numpy()
    for (_, pixels), (_, canvas, intensity), picture in zip(slices, seen, pictures, strict=True):
        # What the map clipped, the model has not seen. The change is added to the source, so that
        # within the map's range the picture is the model's, and what lies beyond it stays beyond.
        before = intensity.to_model(pixels.values, pixels.padding)
        yield intensity.restore(pixels.values, before, canvas.back(picture), pixels.padding)
