"""The slices of a data set as a detector sees them, and what is known of each."""

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
"""Of the canvas: a smaller box is not asked for, nor taught."""

_TISSUE, _LEAST_TISSUE = 0.08, 0.12
"""A slice is worth training on where so much of it is brighter than so much of the range."""


def are_findings(boxes: Tensor) -> Tensor:
    """Tell boxes, ``[..., 4]``, from the zeros that they are filled up with."""
    return (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)


@dataclass(frozen=True, eq=False)
class Examples:
    """What a detector learns from or is tested on.

    Attributes:
        images: ``[N, 1, size, size]`` float16 in [0, 1].
        boxes: ``[N, K, 4]`` in pixel edges of the canvas, filled up with boxes of zeros.
    """

    images: Tensor
    boxes: Tensor

    @classmethod
    def of(
        cls, images: Sequence[NDArray[np.float32]], boxes: Sequence[NDArray[np.float64]]
    ) -> Examples:
        """Stack canvases, ``[size, size]``, and their boxes, ``[K, 4]`` with any K."""
        most = max((len(own) for own in boxes), default=0)
        filled = torch.zeros(len(boxes), max(1, most), 4)
        for row, own in enumerate(boxes):
            filled[row, : len(own)] = torch.from_numpy(own)
        return cls(torch.from_numpy(np.stack(images).astype(np.float16))[:, None], filled)

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: Sequence[int]) -> Examples:
        """Return some of them."""
        places = torch.tensor(rows, dtype=torch.long)
        return Examples(self.images[places], self.boxes[places])

    def boxes_of(self, row: int) -> NDArray[np.float32]:
        """Return the boxes of one slice, ``[K, 4]``, without what fills them up."""
        own = self.boxes[row]
        found: NDArray[np.float32] = own[are_findings(own)].numpy()
        return found


@dataclass(frozen=True, eq=False)
class DataSet:
    """All slices whose findings are known.

    Attributes:
        slices: with their labels.
        examples: the same slices on the canvas.
    """

    slices: tuple[Slice, ...]
    examples: Examples

    @cached_property
    def findings(self) -> dict[str, int]:
        """How many findings each patient has."""
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
        """Return the slices of some patients, by their place."""
        return [row for row, item in enumerate(self.slices) if item.group in groups]

    def worth_training_on(self, groups: Collection[str]) -> list[int]:
        """Return those that show more than a bit of skin."""
        return [row for row in self.of(groups) if self._worth[row]]

    def free(self, groups: Collection[str]) -> list[int]:
        """Return those that are worth training on and free of findings.

        A file that holds several slices counts as a whole: hosts are given file by file.
        """
        taken = {item.source.path for item in self.slices if item.labels}
        rows = self.worth_training_on(groups)
        return [row for row in rows if self.slices[row].source.path not in taken]

    def files(self, rows: Iterable[int]) -> list[Path]:
        """Return the files of slices."""
        return list(dict.fromkeys(self.slices[row].source.path for row in rows))

    def digest(self) -> str:
        """Return what changes with the slices, their patients and their findings."""
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
        paths: files and folders with the slices.
        labels: of the slices, in any format that ``attach_labels`` knows; they say which slices
            are empty. Slices that they do not speak of are left out.
        size: of the canvas.
        outlines: masks of the findings whose boxes the labels have.
        intensity: how native values become those of the canvas, as in ``intensity_rule``.
        modality: of files that do not say.

    Raises:
        LabelError: the labels are of none of the slices.
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
    """Decode slices and set them on canvases; what cannot be decoded is told and left out."""
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
    """Set a slice on a canvas: its image, ``[size, size]``, and its boxes, ``[K, 4]``."""
    image, canvas, _ = model_image(item, pixels, size, intensity)
    boxes = canvas.boxes((item.labels or Labels()).boxes)
    sides = boxes[:, 2:] - boxes[:, :2]
    return image, boxes[sides.prod(axis=1) >= _SMALLEST * size**2]


def _slices(studies: Iterable[Study]) -> list[Slice]:
    """Return all slices, series by series in an order of their own."""
    series = sorted((s for study in studies for s in study.series), key=lambda s: s.key)
    return [item for one in series for item in one.slices]
