"""Writing of synthetic and real slices as images, and their description in manifest lines."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from medvae.augmentation._plan import Batch, Draw
from medvae.augmentation._settings import Settings
from medvae.errors import DecodeError, WriteError
from medvae.gates import Draft
from medvae.labels import LabelledImage, written_formats
from medvae.manifest import ManifestLine
from medvae.records import Labels, Series, Slice
from medvae.render import Refused
from medvae.sources import by_series
from medvae.writers import NewPixels, Synthesis, regular_parts, write_series

Written = tuple[str | None, list[list[str]]]
"""The reason why slices cannot be written, if any, and the files of each slice."""


@dataclass(frozen=True)
class ImageWriter:
    """Writer of the slices of one series, in all formats or in none.

    Attributes:
        out: Folder of the run.
        folder: Subfolder of ``out`` for the images.
        formats: Formats in which each image is written.
    """

    out: Path
    folder: str
    formats: tuple[str, ...]

    def write(self, series: Series, pixels: Sequence[NewPixels], place: int | None) -> Written:
        """Write slices of one series.

        Args:
            series: Series that gives the keys and the patient.
            pixels: Pixels of each slice of the series.
            place: Position of the first slice in a longer series, from 1; None if the series is
                complete.

        Returns:
            The reason why the slices cannot be written, if any, and the files of each slice,
            relative to the folder of the run.

        Raises:
            WriteError: If the file system refuses.
        """
        files: list[list[str]] = [[] for _ in pixels]
        for name in self.formats:
            try:
                for own, path in zip(files, self._in(name, series, pixels, place), strict=True):
                    own.append(path)
            except WriteError as error:
                if isinstance(error.__cause__, OSError):
                    raise
                for path in chain.from_iterable(files):
                    (self.out / path).unlink(missing_ok=True)
                return f"cannot be written as {name}: {error.reason}", [[] for _ in pixels]
        return None, files

    def _in(
        self, name: str, series: Series, pixels: Sequence[NewPixels], place: int | None
    ) -> list[str]:
        """Write the slices in one format, and return the file of each slice."""
        folder = self.out / self.folder / name / f"sub-{series.slices[0].group}"
        paths = write_series(name, folder, series, pixels, place)
        if len(paths) < len(pixels):
            volumes = zip(paths, regular_parts(series), strict=True)
            paths = [path for path, (places, _) in volumes for _ in places]
        return [path.relative_to(self.out).as_posix() for path in paths]


class DraftWriter:
    """Writer of the drafts of batches.

    Args:
        out: Folder of the run.
        settings: Settings that give the image formats.
        about: Provenance that all slices have in common.
        slices: Slices that draws start from, by name.
    """

    def __init__(
        self, out: Path, settings: Settings, about: Synthesis, slices: Mapping[str, Slice]
    ) -> None:
        self._images = ImageWriter(out, "images", settings.formats)
        self._about, self._slices = about, slices

    def write(
        self, batch: Batch, made: Sequence[tuple[Draw, Draft | Refused]]
    ) -> list[ManifestLine]:
        """Write the kept drafts of a batch, and return its manifest lines.

        Slices that a format does not allow, such as a DICOM image whose source has text burned
        into its pixels, are rejected.

        Raises:
            WriteError: If the file system refuses.
        """
        kept = [(draw, one) for draw, one in made if isinstance(one, Draft) and one.reason is None]
        written: dict[Draft, tuple[str | None, list[str]]] = {}
        for part in [kept] if batch.in_series and kept else [[one] for one in kept]:
            reason, files = self._written(part, batch.in_series)
            written |= {
                draft: (reason, names) for (_, draft), names in zip(part, files, strict=True)
            }
        lines = []
        for draw, one in made:
            outcome: tuple[str | None, list[str]] = (one.reason, [])
            if isinstance(one, Draft):
                outcome = written.get(one, outcome)
            lines.append(self._line(batch, draw, one, *outcome))
        return lines

    def _written(self, drafts: Sequence[tuple[Draw, Draft]], in_series: bool) -> Written:
        """Write slices of one series; return why that failed, if so, and the files of each."""
        draw, first = drafts[0]
        slices = tuple(
            replace(draft.scene.slice, key=draft.key, labels=draft.rendered.labels)
            for _, draft in drafts
        )
        try:
            pixels = [self._pixels(*one) for one in drafts]
        except WriteError as error:
            return error.reason, [[] for _ in drafts]
        place = None if in_series else first.scene.slice.place + 1
        return self._images.write(Series(draw.series_of(first.scene.slice), slices), pixels, place)

    def _pixels(self, draw: Draw, draft: Draft) -> NewPixels:
        about = replace(
            self._about,
            copy=draw.copy,
            strength=draft.strength,
            seed=_seed(draw),
            donors=() if draft.donor is None else (self._slices[draw.source].group,),
        )
        return NewPixels.of(draft.scene.pixels, draft.rendered.values, about)

    def _line(
        self,
        batch: Batch,
        draw: Draw,
        one: Draft | Refused,
        reason: str | None,
        files: Sequence[str],
    ) -> ManifestLine:
        source = self._slices[draw.source]
        draft = one if isinstance(one, Draft) else None
        base = source if draft is None else draft.scene.slice
        numbers = {} if draft is None else draft.rendered.numbers
        return ManifestLine(
            key=draw.key if draft is None else draft.key,
            batch=batch.key,
            reason=reason,
            sources=tuple(dict.fromkeys((source.key, base.key))),
            groups=tuple(dict.fromkeys((base.group, source.group))),
            copy=draw.copy,
            render=self._about.render,
            sampler=self._about.sampler,
            strength=_rounded(one.strength),
            seed=_seed(draw),
            partner=None if draft is None else draft.partner,
            gates={
                f"{verdict.gate} {verdict.measure}": _rounded(verdict.value)
                for verdict in (() if draft is None else draft.verdicts)
            },
            numbers={name: _rounded(number) for name, number in numbers.items()},
            shape=base.shape,
            files=tuple(files),
            labels=Labels() if draft is None or reason is not None else draft.rendered.labels,
            labelled=source.labels is not None,
            model=self._about.model,
        )


def _seed(draw: Draw) -> str:
    return f"{draw.seed}/{draw.key}"


def _rounded(value: float) -> float | None:
    """Return a rounded number for JSON, or None if it is not finite."""
    return round(float(value), 6) if math.isfinite(value) else None


class RealWriter:
    """Stage that writes labelled real slices under pseudonyms, for training with both.

    Slices that a killed run has already written are written again, identically.

    Args:
        out: Folder of the run.
        settings: Settings with the image formats, and whether whole series are written.
    """

    def __init__(self, out: Path, settings: Settings) -> None:
        self._images = ImageWriter(out, "real", settings.formats)
        self._in_series = settings.per == "study"

    def parts(self, slices: Sequence[Slice]) -> list[list[Slice]]:
        """Return the labelled ones of slices, which are in their order, as items of the stage."""
        labelled = [native for native in slices if native.labels is not None]
        return by_series(labelled) if self._in_series else [[native] for native in labelled]

    def __call__(self, slices: Sequence[Slice]) -> list[LabelledImage] | str:
        """Write slices of one series, and return their images, or why they cannot be written."""
        first = slices[0]
        place = None if self._in_series else first.place + 1
        try:
            pixels = [_unchanged(native) for native in slices]
        except (DecodeError, WriteError) as error:
            return f"real series {first.series}: {error}"
        reason, files = self._images.write(Series(first.series, tuple(slices)), pixels, place)
        if reason is not None:
            return f"real series {first.series}: {reason}"
        names = [own[0] for own in files]
        return [
            LabelledImage(name, own.shape, own.labels or Labels(), own.group, own.key, frame)
            for own, name, frame in zip(slices, names, _frames(names), strict=True)
        ]


def _unchanged(native: Slice) -> NewPixels:
    pixels = native.pixels()
    return NewPixels.of(pixels, pixels.values, Synthesis(run="", model="", render="none"))


def write_labels(
    out: Path,
    lines: Iterable[ManifestLine],
    real: Sequence[LabelledImage],
    formats: Sequence[str],
) -> None:
    """Write the labels of all kept slices in each format, after those of the real slices.

    If images are written in several formats, the labels name the files of the first. COCO and
    datalist give paths relative to the folder of the run; YOLO has files beside the images.

    Raises:
        WriteError: If the file system refuses.
    """
    files: list[str] = []
    images: dict[int, LabelledImage] = {}
    for line in lines:
        if line.kept:
            if line.labelled:
                groups, number = "+".join(line.groups), len(files)
                images[number] = LabelledImage(
                    line.files[0], line.shape, line.labels, groups, line.key
                )
            files.append(line.files[0])
    frames = _frames(files)
    made = [replace(image, frame=frames[number]) for number, image in images.items()]
    for label_format in written_formats(formats):
        label_format.write(out, [*real, *made])


def _frames(files: Sequence[str]) -> list[int | None]:
    """Return the index of each slice in its file, from 0; None where it is the only slice.

    Args:
        files: The file of each slice; the slices of a volume are in its order.
    """
    shared, before = Counter(files), Counter[str]()
    found: list[int | None] = []
    for file in files:
        found.append(None if shared[file] == 1 else before[file])
        before[file] += 1
    return found
