"""A transform that replaces items of a training set with transplanted lesions, on the fly."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.data.meta_obj import get_track_meta
from monai.data.meta_tensor import MetaTensor
from monai.transforms.transform import MapTransform
from monai.utils.misc import ensure_tuple
from monai.utils.type_conversion import convert_to_tensor
from torch import Tensor

from medvae.errors import UsageProblem, check_choice
from medvae.intensity import Canvas, standard_flips
from medvae.records import Category
from medvae.render import BALANCES
from medvae.transforms._bank import Transplant, TransplantBank
from medvae.transforms._marks import boxes_like, like
from medvae.transforms._plane import Plane
from medvae.transforms._trace import Traced


class RandTransplantd(Traced, MapTransform):
    """Random replacement of an item with a slice that contains a lesion of another patient.

    Donor, lesion and host are drawn from a bank, whatever the item holds. ``prob`` is therefore the
    share of transplants in each batch, as in the trials in which they were found to help, and no
    network runs while a detector is trained. The item determines the orientation of the slice;
    apart from that, only its metadata and other keys are kept. Put this transform first after
    loading: the values are in the units of the files, and the size is that of the host. If no
    attempt of a draw fits, the item stays as it is.

    Args:
        image_key: Key of the image ``[1, H, W]``.
        bank: Folder of a ``TransplantBank``; each worker opens it itself.
        mask_keys: Keys of label maps ``[1, H, W]``, which are the label plus 1 in a lesion and 0
            elsewhere.
        box_keys: Keys of boxes ``[N, 4]`` in MONAI's ``StandardMode``.
        label_keys: Keys of the labels ``[N]`` of the boxes.
        categories: Label of each category by its name; by default, categories are numbered from 0
            as in ``write_datalist``.
        strength: Strength of the lesion's variation.
        balance: Draw a donor patient first and then one of the patient's slices (``patients``), or
            any of the slices with lesions (``slices``).
        prob: Probability of replacing an item.
        rows_first: Whether the first spatial axis counts the rows, for images whose affine does not
            tell, as in :class:`RandLatentNeighbor`.
        allow_missing_keys: Whether to ignore missing keys instead of raising an error.

    Raises:
        UsageProblem: An argument is invalid.
        ReadError: The bank does not exist or is damaged.
    """

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
        Traced.__init__(self, prob)
        if not (strength >= 0 and math.isfinite(strength)):
            raise UsageProblem(f"strength must be 0 or more, but is {strength}")
        check_choice([balance], BALANCES, "value", "balance")
        self.bank = TransplantBank.open(bank)
        if self.mask_keys and not self.bank.masked:
            raise UsageProblem(f"{bank}: some of its lesions have no mask: leave mask_keys out")
        self.strength = strength
        self.balance = balance
        self.rows_first = rows_first
        self._labels = _numbered(self.bank, categories)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the item or its replacement."""
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
            item[key] = self._trace(item[key], made is not None, **_names(made))
        return item

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Remove the trace of this transform from the tensors.

        Raises:
            UsageProblem: The item was replaced.
        """
        undone = dict(data)
        for key in self.key_iterator(undone):
            undone[key] = super().inverse(undone[key])
        return undone

    def _replace(
        self, item: dict[Hashable, Any], made: Transplant, there: Collection[Hashable]
    ) -> None:
        """Replace the values of an item with those of a transplant."""
        picture: Tensor = item[self.image_key]
        if picture.dim() != 3 or len(picture) != 1:
            raise UsageProblem(f"a picture must be [1, H, W], but is {list(picture.shape)}")
        plane = Plane.of(picture, self.rows_first)
        canvas = _shown(made, plane)
        findings = made.rendered.labels
        labels = [self._labels[finding.category] for finding in findings]
        painted = np.zeros(made.host.shape, dtype=np.int64)
        for finding, label in zip(findings, labels, strict=True):
            if finding.mask is not None:
                painted[finding.mask.on(made.host.shape)] = label + 1
        for key in there:
            if key in (self.image_key, *self.mask_keys):
                values = made.rendered.values if key == self.image_key else painted
                new = like(plane.turned(canvas.flip(values))[None], item[key])
                if isinstance(new, MetaTensor):
                    new.affine = plane.spaced(new.affine, made.scene.spacing)
                item[key] = new
            elif key in self.box_keys:
                boxes = plane.turned_boxes(canvas.flip_boxes(findings.boxes))
                item[key] = boxes_like(boxes, item[key])
            else:
                item[key] = like(np.array(labels, dtype=np.int64), item[key])


def _shown(made: Transplant, plane: Plane) -> Canvas:
    """Return the canvas that flips the host of a transplant to the orientation of an image."""
    rows, columns = standard_flips(plane.geometry)
    own = made.scene.canvas
    return replace(own, flip_rows=own.flip_rows != rows, flip_columns=own.flip_columns != columns)


def _names(made: Transplant | None) -> dict[str, str]:
    """Return the pseudonyms of donor and host; empty strings if there is no transplant."""
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
