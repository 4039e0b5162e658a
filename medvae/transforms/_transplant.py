"""Items of a training set are replaced by transplanted lesions, on the fly."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.data.meta_obj import get_track_meta
from monai.data.meta_tensor import MetaTensor
from monai.transforms.transform import MapTransform, RandomizableTransform
from monai.utils.enums import TransformBackends
from monai.utils.misc import ensure_tuple
from monai.utils.type_conversion import convert_to_tensor
from numpy.typing import NDArray
from torch import Tensor

from medvae.errors import UsageProblem
from medvae.intensity import standard_flips
from medvae.records import Category
from medvae.render import check_balance
from medvae.transforms._bank import Transplant, TransplantBank
from medvae.transforms._marks import boxes_like, like
from medvae.transforms._plane import Plane
from medvae.transforms._trace import Traced

__all__ = ["RandTransplantD", "RandTransplantDict", "RandTransplantd"]

_SEEDS = 2**32


class RandTransplantd(RandomizableTransform, MapTransform, Traced):
    """Replace an item by a slice that a lesion of another patient was set into.

    Donor, lesion and host are drawn from a bank, whatever the item holds: so ``prob`` is the share
    of transplants in each batch, as in the trials that they were found to help in, and no network
    runs while a detector is trained. The item says how the slice must lie; apart from that only
    its metadata and other keys stay. Put it first after loading: the values are in the units
    of the files, the size is the host's own. Where no try of a draw fits, the item stays as it is.

    Args:
        image_key: of the picture ``[1, H, W]``.
        bank: folder of a ``TransplantBank``; each worker opens it for itself.
        mask_keys: of label maps ``[1, H, W]``: a lesion has its label plus 1, all else is 0.
        box_keys: of boxes ``[N, 4]`` in MONAI's ``StandardMode``.
        label_keys: of the labels ``[N]`` of the boxes.
        categories: the label of each category by its name; else they are counted from 0 as
            ``write_datalist`` does.
        strength: of the lesion's variation.
        balance: Draw a donor patient first and then one of the patient's slices (``patients``), or
            any of the slices with lesions (``slices``).
        prob: probability of replacing an item.
        rows_first: which of the spatial axes counts the rows, where the affine does not tell, as in
            :class:`RandLatentNeighbor`.
        allow_missing_keys: do not raise where a key is missing.

    Raises:
        UsageProblem: an argument cannot be right.
        ReadError: there is no such bank, or it is damaged.
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012

    def __init__(
        self,
        image_key: Hashable,
        bank: str | Path,
        mask_keys: KeysCollection = (),
        box_keys: KeysCollection = (),
        label_keys: KeysCollection = (),
        categories: Mapping[str, int] | None = None,
        strength: float = 1.0,
        balance: str = "patients",
        prob: float = 0.25,
        rows_first: bool | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        self.image_key = image_key
        self.mask_keys: tuple[Hashable, ...] = ensure_tuple(mask_keys)
        self.box_keys: tuple[Hashable, ...] = ensure_tuple(box_keys)
        self.label_keys: tuple[Hashable, ...] = ensure_tuple(label_keys)
        keys = (image_key, *self.mask_keys, *self.box_keys, *self.label_keys)
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        if not (strength >= 0 and math.isfinite(strength)):
            raise UsageProblem(f"strength must be 0 or more, but is {strength}")
        check_balance(balance)
        self.bank = TransplantBank.open(bank)
        if self.mask_keys and not self.bank.masked:
            raise UsageProblem(f"{bank}: some of its lesions have no mask: leave mask_keys out")
        self.strength = strength
        self.balance = balance
        self.rows_first = rows_first
        self._labels = _numbered(self.bank, categories)
        self._seed = 0

    def randomize(self, data: Any = None) -> None:
        """Draw whether to replace an item, and where its random numbers begin."""
        super().randomize(None)
        if self._do_transform:
            self._seed = int(self.R.randint(_SEEDS, dtype=np.uint64))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the item, or what takes its place."""
        item = dict(data)
        there = list(self.key_iterator(item))
        if self.image_key not in there:
            return item
        self.randomize()
        for key in (self.image_key, *self.mask_keys):
            if key in there:
                dtype = torch.float32 if key == self.image_key else None
                item[key] = convert_to_tensor(item[key], dtype=dtype, track_meta=get_track_meta())
        made = (
            self.bank.draw(self._seed, self.strength, self.balance) if self._do_transform else None
        )
        if made is not None:
            self._replace(item, made, there)
        for key in there:
            item[key] = self._trace(
                item[key],
                made is not None,
                seed=self._seed,
                strength=self.strength,
                **_names(made),
            )
        return item

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Take back what was noted on the tensors.

        Raises:
            UsageProblem: the item was replaced.
        """
        undone = dict(data)
        for key in self.key_iterator(undone):
            undone[key] = self._undo(undone[key])
        return undone

    def _replace(
        self, item: dict[Hashable, Any], made: Transplant, there: Collection[Hashable]
    ) -> None:
        """Set what was made in an item."""
        picture: Tensor = item[self.image_key]
        if picture.dim() != 3 or len(picture) != 1:
            raise UsageProblem(f"a picture must be [1, H, W], but is {list(picture.shape)}")
        plane = Plane.of(picture, self.rows_first)
        shown = _Shown.of(made, plane)
        findings = made.rendered.labels
        labels = [self._labels[finding.category] for finding in findings]
        painted = np.zeros(made.scene.values.shape, dtype=np.int64)
        for finding, label in zip(findings, labels, strict=True):
            if finding.mask is not None:
                painted[finding.mask.on(made.host.shape)] = label + 1
        for key in filter(there.__contains__, self.keys):
            old = item[key]
            if key == self.image_key:
                item[key] = _spaced(like(shown.pixels(made.rendered.values), old), plane, made)
            elif key in self.mask_keys:
                item[key] = _spaced(like(shown.pixels(painted), old), plane, made)
            elif key in self.box_keys:
                item[key] = boxes_like(shown.boxes(findings.boxes), old)
            else:
                item[key] = like(np.array(labels, dtype=np.int64), old)


@dataclass(frozen=True)
class _Shown:
    """How a slice of the bank is shown where another picture was.

    Attributes:
        plane: of that picture.
        shape: rows and columns of the slice.
        flip_rows, flip_columns: whether they must be reversed.
    """

    plane: Plane
    shape: tuple[int, int]
    flip_rows: bool
    flip_columns: bool

    @classmethod
    def of(cls, made: Transplant, plane: Plane) -> _Shown:
        """Show the host of a transplant."""
        rows, columns = standard_flips(plane.geometry)
        canvas = made.scene.canvas
        return cls(plane, made.host.shape, canvas.flip_rows != rows, canvas.flip_columns != columns)

    def pixels(self, values: NDArray[Any]) -> NDArray[Any]:
        """Show ``[rows, columns]`` as ``[1, H, W]``."""
        rows, columns = -1 if self.flip_rows else 1, -1 if self.flip_columns else 1
        return self.plane.turned(values[::rows, ::columns])[None]

    def boxes(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Show boxes ``[N, 4]``."""
        shown = boxes.copy()
        height, width = self.shape
        if self.flip_rows:
            shown[:, [1, 3]] = height - boxes[:, [3, 1]]
        if self.flip_columns:
            shown[:, [0, 2]] = width - boxes[:, [2, 0]]
        return self.plane.turned_boxes(shown)


def _spaced(picture: Any, plane: Plane, made: Transplant) -> Any:
    """Give a picture the spacing of the host."""
    if isinstance(picture, MetaTensor):
        picture.affine = plane.spaced(picture.affine, made.scene.spacing)
    return picture


def _names(made: Transplant | None) -> dict[str, str]:
    """Return whose slices were used; the same names where there are none."""
    if made is None:
        return dict.fromkeys(("donor", "donor_group", "host", "host_group"), "")
    return {
        "donor": made.donor.key,
        "donor_group": made.donor.group,
        "host": made.host.key,
        "host_group": made.host.group,
    }


def _numbered(bank: TransplantBank, labels: Mapping[str, int] | None) -> Mapping[Category, int]:
    """Return the label of each category of a bank."""
    if labels is None:
        return {category: number for number, category in enumerate(bank.categories)}
    missing = [category.name for category in bank.categories if category.name not in labels]
    if missing:
        raise UsageProblem(
            f"categories must have a label for {', '.join(missing)} too: the bank has lesions of it"
        )
    return {category: labels[category.name] for category in bank.categories}


RandTransplantD = RandTransplantDict = RandTransplantd
