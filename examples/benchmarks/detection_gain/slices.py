"""The slices of a data set as a detector sees them, and what is known about each."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medvae.errors import DecodeError, LabelError
from medvae.intensity import model_image
from medvae.labels import attach_labels
from medvae.readers import open_studies, read_pixels
from medvae.records import Labels, Pixels, Slice, Study

__all__ = ["DataSet", "Examples", "are_findings", "example", "on_canvas", "read"]

_SMALLEST = 10 / 128**2
"""Share of the canvas below which a box is used neither in training nor in testing."""

_TISSUE, _LEAST_TISSUE = 0.08, 0.12
"""Intensity above which a pixel is tissue, and the minimum share of tissue for training."""


def are_findings(boxes: Tensor) -> Tensor:
    """Return which of the boxes, ``[..., 4]``, are findings and not padding."""
    return (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)


@dataclass(frozen=True, eq=False)
class Examples:
    """Slices with boxes that a detector is trained or tested on.

    Attributes:
        images: Slices ``[N, 1, size, size]``, float16 in [0, 1].
        boxes: Boxes ``[N, K, 4]`` in pixel edges of the canvas, padded with zeros.
    """

    images: Tensor
    boxes: Tensor

    @classmethod
    def of(
        cls, images: Sequence[NDArray[np.float32]], boxes: Sequence[NDArray[np.float64]]
    ) -> Examples:
        """Stack canvases, ``[size, size]``, and their boxes, ``[K, 4]`` with any K each."""
        most = max((len(own) for own in boxes), default=0)
        filled = torch.zeros(len(boxes), max(1, most), 4)
        for row, own in enumerate(boxes):
            filled[row, : len(own)] = torch.from_numpy(own)
        return cls(torch.from_numpy(np.stack(images).astype(np.float16))[:, None], filled)

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: Sequence[int]) -> Examples:
        """Return the examples of some rows."""
        places = torch.tensor(rows, dtype=torch.long)
        return Examples(self.images[places], self.boxes[places])

    def boxes_of(self, row: int) -> NDArray[np.float32]:
        """Return the boxes of one slice, ``[K, 4]``, without padding."""
        own = self.boxes[row]
        found: NDArray[np.float32] = own[are_findings(own)].numpy()
        return found


@dataclass(frozen=True, eq=False)
class DataSet:
    """All slices whose findings are known.

    Attributes:
        slices: Slices with their labels.
        examples: The same slices on the canvas.
    """

    slices: tuple[Slice, ...]
    examples: Examples

    @cached_property
    def findings(self) -> dict[str, int]:
        """Number of findings of each patient."""
        counts = dict.fromkeys(sorted({item.group for item in self.slices}), 0)
        for item in self.slices:
            counts[item.group] += len(item.labels or ())
        return counts

    @cached_property
    def _worth(self) -> NDArray[np.bool_]:
        bright = (self.examples.images > _TISSUE).float().mean(dim=(1, 2, 3))
        worth: NDArray[np.bool_] = (bright >= _LEAST_TISSUE).numpy()
        return worth

    def of(self, groups: Collection[str]) -> list[int]:
        """Return the rows of the slices of some patients."""
        return [row for row, item in enumerate(self.slices) if item.group in groups]

    def worth_training_on(self, groups: Collection[str]) -> list[int]:
        """Return the rows of their slices that show enough tissue."""
        return [row for row in self.of(groups) if self._worth[row]]

    def free(self, groups: Collection[str]) -> list[int]:
        """Return the rows of their slices that are worth training on and free of findings.

        A file with several slices counts as a whole, since hosts are given file by file.
        """
        taken = {item.source.path for item in self.slices if item.labels}
        rows = self.worth_training_on(groups)
        return [row for row in rows if self.slices[row].source.path not in taken]

    def files(self, rows: Iterable[int]) -> list[Path]:
        """Return the files of the slices in some rows."""
        return list(dict.fromkeys(self.slices[row].source.path for row in rows))

    def digest(self) -> str:
        """Return a digest of the slices, their patients and their findings."""
        whole = hashlib.blake2b(digest_size=10)
        known = ((s.key, s.group, (s.labels or Labels()).boxes.tolist()) for s in self.slices)
        for entry in sorted(known):
            whole.update(repr(entry).encode())
        return whole.hexdigest()


def read(
    paths: Sequence[Path],
    labels: Path,
    *,
    size: int,
    outlines: Path | None = None,
    intensity: str | None = None,
    modality: str | None = None,
) -> DataSet:
    """Read a data set.

    Args:
        paths: Files and folders with the slices.
        labels: Labels of the slices, in any format that ``attach_labels`` knows; they say which
            slices are empty. Slices that they do not mention are left out.
        size: Side of the canvas in pixels.
        outlines: Masks of the findings whose boxes are in the labels.
        intensity: Rule that maps native values to the canvas, as in ``intensity_rule``.
        modality: Modality of files that do not state it.

    Raises:
        LabelError: The labels belong to none of the slices.
    """
    studies = open_studies(paths, modality=modality).studies
    labelled = _slices(attach_labels(studies, labels, outlines).studies)
    known = [item for item in labelled if item.labels is not None]
    if not known:
        raise LabelError(f"{labels}: says nothing of the slices that were given")
    return DataSet(*on_canvas(known, size, intensity))


def on_canvas(
    slices: Sequence[Slice], size: int, intensity: str | None
) -> tuple[tuple[Slice, ...], Examples]:
    """Decode slices and place them on canvases; report and leave out those that fail to decode."""
    shown, images, boxes = [], [], []
    for item, pixels in read_pixels(slices):
        if isinstance(pixels, DecodeError):
            print(f"left out: {pixels}", file=sys.stderr)
            continue
        image, own = example(item, pixels, size, intensity)
        shown.append(item)
        images.append(image)
        boxes.append(own)
    return tuple(shown), Examples.of(images, boxes)


def example(
    item: Slice, pixels: Pixels, size: int, intensity: str | None
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return a slice on a canvas: its image, ``[size, size]``, and its boxes, ``[K, 4]``."""
    image, canvas, _ = model_image(item, pixels, size, intensity)
    boxes = canvas.boxes((item.labels or Labels()).boxes)
    sides = boxes[:, 2:] - boxes[:, :2]
    return image, boxes[sides.prod(axis=1) >= _SMALLEST * size**2]


def _slices(studies: Iterable[Study]) -> list[Slice]:
    """Return all slices, series by series, in the order of the keys of the series."""
    series = sorted((s for study in studies for s in study.series), key=lambda s: s.key)
    return [item for one in series for item in one.slices]
