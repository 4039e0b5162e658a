"""Denoising: replace each slice by the model's reconstruction, in native size and units."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import torch

from medvae.errors import DecodeError, WriteError, check_choice
from medvae.files import Paths, as_paths
from medvae.folders import output
from medvae.formats import WRITERS
from medvae.intensity import model_image
from medvae.models import open_model
from medvae.networks import Codec
from medvae.progress import Progress, ignore_progress
from medvae.readers import open_studies, read_pixels, refuse_burned_in
from medvae.records import Pixels, Series, Slice
from medvae.writers import NewPixels, Synthesis, write_series

__all__ = ["Denoised", "Failure", "denoise"]

Decoded = tuple[Slice, Pixels | DecodeError]

_BATCH = 16
"""Number of slices that are held in memory at once."""


@dataclass(frozen=True)
class Failure:
    """A file, slice or series that could not be denoised.

    Attributes:
        where: Path of the file; for a series that could not be written, of its first file.
        why: Reason for the failure.
    """

    where: str
    why: str


@dataclass(frozen=True)
class Denoised:
    """Record of what was written and what was not.

    Attributes:
        files: Files in the order in which they were written.
        series, slices: Numbers of series and slices in these files.
        failures: Every refused file, every slice that could not be decoded, and every series that
            could not be written.
    """

    files: tuple[Path, ...]
    series: int
    slices: int
    failures: tuple[Failure, ...]


def denoise(
    paths: Paths,
    model: str | Path,
    out: str | Path,
    *,
    modality: str | None = None,
    allow_burned_in: bool = False,
    formats: Sequence[str] = ("nifti",),
    device: str | None = None,
    workers: int | None = None,
    progress: Progress = ignore_progress,
) -> Denoised:
    """Write studies as a model reconstructs them, from the posterior means of their slices.

    If a slice cannot be decoded, its series is written without it. Memory use is bounded by the
    largest series. Each patient has a folder ``sub-PSEUDONYM``, so that readers of the files can
    keep all data of one patient on one side of a split.

    Args:
        paths: Files and folders to read.
        model: Trained bundle.
        out: Output folder, which must be empty or not exist yet.
        modality: Modality assumed for files that do not state one.
        allow_burned_in: Whether to denoise images whose headers report burned-in text.
        formats: Output formats: ``nifti``, ``png``, ``dicom`` or several of them.
        device: Device to compute on; by default, a GPU if there is one.
        workers: Number of reading processes; by default, those already running.
        progress: Called with (stage, done, total, note) as work proceeds.

    Raises:
        UsageProblem: If there is no such model or format, ``out`` is not empty, or the model was
            trained on other modalities.
        ReadError: If a path does not exist, or the model is damaged.
        WriteError: If the file system refuses; the message says what was written before.
    """
    check_choice(formats, WRITERS, "format", "formats")
    paths, out = as_paths(paths), Path(out)
    with output(out, paths) as folder:
        trained = open_model(model)
        scan = open_studies(paths, modality=modality, workers=workers, progress=progress)
        if not allow_burned_in:
            scan = refuse_burned_in(scan)
        trained.check_modalities(scan.slices)
        synthesis = Synthesis(
            run=f"denoise {trained.digest} {trained.intensity}",
            model=trained.digest,
            render="reconstruction",
            allow_burned_in=allow_burned_in,
        )
        codec = trained.codec(device, torch.float32)
        job = _SeriesDenoiser(out, formats, codec, trained.intensity, synthesis)
        every = [series for study in scan.studies for series in study.series]
        slices = [native for series in every for native in series.slices]
        decoded = _counted(read_pixels(slices, workers), len(slices), progress)
        for series in every:
            folder.finished = f"{job.series} of {len(every)} series are finished"
            job.do(series, islice(decoded, len(series.slices)))
        refused = [Failure(str(f.path), f.reason) for f in scan.files if f.outcome == "refused"]
        return Denoised(tuple(job.files), job.series, job.slices, (*refused, *job.failures))


def _counted(decoded: Iterable[Decoded], total: int, progress: Progress) -> Iterator[Decoded]:
    for done, item in enumerate(decoded, 1):
        progress("Denoising slices", done, total, "")
        yield item


@dataclass(eq=False)
class _SeriesDenoiser:
    """A denoiser of one series at a time, with counts of what was written.

    Attributes:
        out: Output folder for all patients.
        formats: Names of the writers.
        codec: Model that reconstructs the slices.
        intensity: Spec of the model's intensity map; None for the default of each modality.
        synthesis: Provenance that is recorded in the files.
    """

    out: Path
    formats: Sequence[str]
    codec: Codec
    intensity: str | None
    synthesis: Synthesis
    files: list[Path] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    series: int = 0
    slices: int = 0

    def do(self, series: Series, decoded: Iterator[Decoded]) -> None:
        """Denoise a series while its slices are being decoded, and write the slices that succeed.

        Raises:
            WriteError: If the file system refuses.
        """
        done: list[tuple[Slice, NewPixels]] = []
        while batch := list(islice(decoded, _BATCH)):
            done += self._denoised(batch)
        if not done:
            return
        whole = replace(series, slices=tuple(native for native, _ in done))
        pixels = [new for _, new in done]
        folder, before = self.out / f"sub-{done[0][0].group}", len(self.files)
        for name in dict.fromkeys(self.formats):
            try:
                self.files += write_series(name, folder, whole, pixels)
            except WriteError as error:
                if isinstance(error.__cause__, OSError):
                    raise  # the file system refuses, and would refuse every other file too
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
        if not good:
            return
        seen = [model_image(*one, self.codec.size, self.intensity) for one in good]
        mu, _ = self.codec.encode([image for image, _, _ in seen])
        pictures = self.codec.decode(mu)[:, 0].cpu().numpy()
        for (native, own), (_, canvas, rule), picture in zip(good, seen, pictures, strict=True):
            # The model has not seen what the map clipped. The change is added to the source, so
            # that within the map's range the result is the model's, and values beyond stay beyond.
            before = rule.to_model(own.values, own.padding)
            new = rule.restore(own.values, before, canvas.back(picture), own.padding)
            try:
                yield native, NewPixels.of(own, new, self.synthesis)
            except WriteError as error:
                self._fail(native, error)

    def _fail(self, native: Slice, error: DecodeError | WriteError) -> None:
        self.failures.append(Failure(str(native.source.path), error.reason))
