"""Read and write findings as COCO: boxes, polygons and run-length encoded masks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medvae.errors import LabelError
from medvae.geometry import Box
from medvae.labels._findings import decode, encode, reaches_over
from medvae.labels._format import LabelFormat, LabelledImage, LabelSource
from medvae.labels._json import (
    numbers,
    objects,
    optional_index,
    optional_length,
    shown,
    text,
    whole,
    write_json,
)
from medvae.labels._ledger import Ledger
from medvae.labels._problem import UnplacedError, UnusableError
from medvae.records import Category, Finding, Mask, Slice

__all__ = ["Coco", "write_coco"]

_WRITTEN_ID = re.compile(r"0|-?[1-9][0-9]{0,18}")

Id = int | str


class Coco(LabelFormat):
    """COCO format: one JSON file with images, categories and annotations."""

    name = "COCO"
    option = "coco"

    def holds(self, source: LabelSource) -> bool:
        """Return whether the source is a JSON file with images and annotations."""
        document = None if source.is_folder else source.document
        return isinstance(document, dict) and {"images", "annotations"} <= document.keys()

    def resembles(self, source: LabelSource) -> str | None:
        """Return the format's name if the fields at the beginning are those of COCO."""
        fields = source.fields
        is_coco = "image_id" in fields or {"images", "file_name"} <= fields
        return self.name if is_coco else None

    def write(self, folder: Path, images: Sequence[LabelledImage]) -> None:
        """Write ``coco.json``."""
        write_coco(folder / "coco.json", images)

    def read(self, source: LabelSource, ledger: Ledger) -> str:
        """Read a COCO document.

        An annotation that names no known image may belong to any image, so no image is then
        known to be empty.

        Raises:
            LabelError: `images`, `annotations` or `categories` is not a list of objects.
        """
        path, document = source.path, source.document
        ledger.files.append(path)
        name = path.name
        try:
            images = objects(document["images"], "`images`")
            annotations = objects(document["annotations"], "`annotations`")
            categories = _categories(objects(document.get("categories", []), "`categories`"))
        except (LabelError, UnusableError) as error:
            raise LabelError(f"{path}: {error}") from None
        slices: dict[Id, Slice | None] = {}
        for record in images:
            _read_image(f"{name}, image {record.get('id')}", record, path.parent, slices, ledger)
        for record in annotations:
            _read_annotation(
                f"{name}, annotation {record.get('id')}", record, slices, categories, ledger
            )
        return self.name


def _categories(records: Sequence[Mapping[str, Any]]) -> dict[Id, Category]:
    categories: dict[Id, Category] = {}
    for record in records:
        identity = _id(record.get("id"))
        if identity in categories:
            raise LabelError(f"category {identity!r} occurs twice")
        above = record.get("supercategory") or ""
        categories[identity] = Category(text(record.get("name"), "name"), str(above))
    return categories


def _id(value: object) -> Id:
    """Return the id of a record."""
    identity = value if isinstance(value, str) else whole(value)
    if identity is None:
        raise UnusableError(f"`id` must be a whole number or text but is {shown(value)}; ignored")
    return identity


def _known(value: object, ids: Mapping[Id, object]) -> Id | None:
    """Return the id that a value refers to, or None; 2 and ``"2"`` may refer to each other."""
    identity = value if isinstance(value, str) else whole(value)
    if identity is None or identity in ids:
        return identity
    if isinstance(identity, int):
        other: Id = str(identity)
    elif _WRITTEN_ID.fullmatch(identity):
        other = int(identity)
    else:
        return None
    return other if other in ids else None


def _read_image(
    where: str,
    record: Mapping[str, Any],
    folder: Path,
    slices: dict[Id, Slice | None],
    ledger: Ledger,
) -> None:
    """Enter the slice of an image record into ``slices``, or None if it has no slice."""
    with ledger.record(where):
        identity = _id(record.get("id"))
        if identity in slices:
            raise UnusableError("its id occurs twice; ignored")
        slices[identity] = None
        slice_ = ledger.index.slice(
            text(record.get("file_name"), "file_name"),
            folder,
            key=str(record.get("medvae_key") or ""),
            frame=optional_index(record.get("frame"), "frame"),
        )
        with ledger.record(where, on=[slice_]):
            _check_size(record, slice_.shape)
            slices[identity] = slice_
            ledger.mention(slice_)
            ledger.add_patient(where, slice_, record)


def _check_size(record: Mapping[str, Any], shape: tuple[int, int]) -> None:
    rows, columns = shape
    height = optional_length(record.get("height"), "height") or rows
    width = optional_length(record.get("width"), "width") or columns
    if (height, width) != shape:
        raise UnusableError(
            f"is {height}x{width} in the file, but its slice is {rows}x{columns}; ignored"
        )


def _read_annotation(
    where: str,
    record: Mapping[str, Any],
    slices: Mapping[Id, Slice | None],
    categories: Mapping[Id, Category],
    ledger: Ledger,
) -> None:
    with ledger.record(where):
        image = _known(record.get("image_id"), slices)
        if image is None:
            named = shown(record.get("image_id"))
            raise UnplacedError(f"its image {named} is not in `images`; ignored")
        slice_ = slices[image]
        if slice_ is None:
            return
        with ledger.record(where, on=[slice_]):
            _add(where, record, slice_, categories, ledger)


def _add(
    where: str,
    record: Mapping[str, Any],
    slice_: Slice,
    categories: Mapping[Id, Category],
    ledger: Ledger,
) -> None:
    if record.get("iscrowd"):
        raise UnusableError("describes a crowd (`iscrowd`), not one finding; ignored")
    identity = _known(record.get("category_id"), categories)
    if identity is None:
        named = shown(record.get("category_id"))
        raise UnusableError(f"its category {named} is not in `categories`; ignored")
    category = categories[identity]
    mask = _mask(where, record.get("segmentation"), slice_, ledger)
    if mask is not None:
        ledger.add_mask(slice_, category, mask)
        return
    x, y, width, height = numbers(record.get("bbox"), "bbox", (4,))
    ledger.add_box(where, slice_, category, Box(x, y, x + width, y + height))


def _mask(where: str, segmentation: object, slice_: Slice, ledger: Ledger) -> Mask | None:
    """Return the mask of an annotation, or None if its box is to be used instead."""
    if not segmentation:
        return None
    try:
        mask = Mask.of(decode(segmentation, slice_.shape))
        if mask is None:
            raise UnusableError("its segmentation is empty")
    except UnusableError as error:
        ledger.problem(where, f"{error}; its box is used instead")
        return None
    if reaches_over(segmentation, slice_.shape):
        ledger.problem(where, "extends beyond the edge of the slice; cropped")
    return mask


def write_coco(path: str | Path, images: Sequence[LabelledImage]) -> None:
    """Write a COCO file, with the group of each image as `patient` and its key as `medvae_key`.

    Raises:
        WriteError: The file system refuses to write the file.
    """
    found = {finding.category for image in images for finding in image.labels}
    categories = sorted(found, key=lambda category: (category.supercategory, category.name))
    ids = {category: number for number, category in enumerate(categories, start=1)}
    document: dict[str, Any] = {
        "info": {"description": "Written by medvae"},
        "images": [_image_record(n, image) for n, image in enumerate(images, start=1)],
        "annotations": [],
        "categories": [
            {"id": ids[c], "name": c.name, "supercategory": c.supercategory} for c in categories
        ],
    }
    annotations = document["annotations"]
    for image_id, image in enumerate(images, start=1):
        for finding in image.labels:
            record = _annotation_record(finding, image.shape, ids[finding.category])
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **record})
    write_json(Path(path), document)


def _image_record(identity: int, image: LabelledImage) -> dict[str, Any]:
    rows, columns = image.shape
    record = {"id": identity, "file_name": image.file, "height": rows, "width": columns}
    return {**record, **image.identity()}


def _annotation_record(
    finding: Finding, shape: tuple[int, int], category_id: int
) -> dict[str, Any]:
    box, mask = finding.box, finding.mask
    return {
        "category_id": category_id,
        "bbox": [box.x0, box.y0, box.width, box.height],
        "area": box.area if mask is None else mask.area,
        "iscrowd": 0,
        "segmentation": [] if mask is None else encode(mask, shape),
    }
