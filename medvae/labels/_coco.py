"""Read and write findings as COCO: boxes, polygons and run-length encoded masks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from medvae.atomic import write_text
from medvae.errors import LabelError
from medvae.geometry import Box
from medvae.labels._findings import decode, encode, reaches_over
from medvae.labels._format import (
    LabelFormat,
    LabelledImage,
    LabelSource,
    index,
    length,
    numbers,
    objects,
    shown,
    text,
    whole,
)
from medvae.labels._ledger import Ledger, Record
from medvae.labels._match import UnplacedError, UnusableError
from medvae.records import Category, Finding, Mask, Slice

Id = int | str
T = TypeVar("T")


class Coco(LabelFormat):
    """COCO format: one JSON file with images, categories and annotations."""

    name = "COCO"
    option = "coco"

    def holds(self, source: LabelSource) -> bool:
        document = None if source.is_folder else source.document
        return isinstance(document, dict) and {"images", "annotations"} <= document.keys()

    def resembles(self, source: LabelSource) -> str | None:
        """Return the format's name if the fields at the beginning are those of COCO."""
        fields = source.fields
        is_coco = "image_id" in fields or {"images", "file_name"} <= fields
        return self.name if is_coco else None

    def write(self, folder: Path, images: Sequence[LabelledImage]) -> None:
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
        try:
            images, annotations = objects(document, "images"), objects(document, "annotations")
            categories = _categories(objects(document, "categories"))
        except (LabelError, UnusableError) as error:
            raise LabelError(f"{path}: {error}") from None
        slices: dict[Id, Slice | None] = {}
        for fields in images:
            with ledger.record(f"{path.name}, image {fields.get('id')}") as record:
                _read_image(record, fields, path.parent, slices)
        slices, categories = _by_any_spelling(slices), _by_any_spelling(categories)
        for fields in annotations:
            with ledger.record(f"{path.name}, annotation {fields.get('id')}") as record:
                _read_annotation(record, fields, slices, categories)
        return self.name


def _categories(records: Sequence[Mapping[str, Any]]) -> dict[Id, Category]:
    categories: dict[Id, Category] = {}
    for fields in records:
        identity = _id(fields.get("id"))
        if identity in categories:
            raise LabelError(f"category {identity!r} occurs twice")
        above = fields.get("supercategory") or ""
        categories[identity] = Category(text(fields, "name"), str(above))
    return categories


def _id(value: object) -> Id:
    """Return the id of a record."""
    identity = value if isinstance(value, str) else whole(value)
    if identity is None:
        raise UnusableError(f"`id` must be a whole number or text but is {shown(value)}; ignored")
    return identity


def _by_any_spelling(records: Mapping[Id, T]) -> dict[Id, T]:
    """Return records by their ids; 2 and ``"2"`` may refer to each other if only one exists."""
    return {**{str(identity): record for identity, record in records.items()}, **records}


def _referred(
    fields: Mapping[str, Any],
    kind: str,
    records: Mapping[Id, T],
    where: str,
    error: type[UnusableError],
) -> T:
    """Return the record that the ``KIND_id`` of an annotation refers to, or raise an error."""
    value = fields.get(f"{kind}_id")
    identity = value if isinstance(value, str) else whole(value)
    for known in () if identity is None else (identity, str(identity)):
        if known in records:
            return records[known]
    raise error(f"its {kind} {shown(value)} is not in `{where}`; ignored")


def _read_image(
    record: Record, fields: Mapping[str, Any], folder: Path, slices: dict[Id, Slice | None]
) -> None:
    """Enter the slice of an image record into ``slices``, or None if it has no slice."""
    identity = _id(fields.get("id"))
    if identity in slices:
        raise UnusableError("its id occurs twice; ignored")
    slices[identity] = None
    name, key = text(fields, "file_name"), str(fields.get("medvae_key") or "")
    slice_ = record.ledger.index.slice(name, folder, key, index(fields, "frame"))
    record.slices = [slice_]
    rows, columns = slice_.shape
    height, width = length(fields, "height", rows), length(fields, "width", columns)
    if (height, width) != slice_.shape:
        raise UnusableError(
            f"is {height}x{width} in the file, but its slice is {rows}x{columns}; ignored"
        )
    slices[identity] = slice_
    record.mention()
    record.add_patient(fields)


def _read_annotation(
    record: Record,
    fields: Mapping[str, Any],
    slices: Mapping[Id, Slice | None],
    categories: Mapping[Id, Category],
) -> None:
    slice_ = _referred(fields, "image", slices, "images", UnplacedError)
    if slice_ is None:
        return
    record.slices = [slice_]
    if fields.get("iscrowd"):
        raise UnusableError("describes a crowd (`iscrowd`), not one finding; ignored")
    category = _referred(fields, "category", categories, "categories", UnusableError)
    place: Box | Mask | None = _mask(record, fields.get("segmentation"), slice_.shape)
    if place is None:
        x, y, width, height = numbers(fields.get("bbox"), "bbox", (4,))
        place = Box(x, y, x + width, y + height)
    record.add(category, place)


def _mask(record: Record, segmentation: object, shape: tuple[int, int]) -> Mask | None:
    """Return the mask of an annotation, or None if its box is to be used instead."""
    if not segmentation:
        return None
    try:
        mask = Mask.of(decode(segmentation, shape))
        if mask is None:
            raise UnusableError("its segmentation is empty")
    except UnusableError as error:
        record.problem(f"{error}; its box is used instead")
        return None
    if reaches_over(segmentation, shape):
        record.problem("extends beyond the edge of the slice; cropped")
    return mask


def write_coco(path: str | Path, images: Sequence[LabelledImage]) -> None:
    """Write a COCO file, with the group of each image as `patient` and its key as `medvae_key`.

    Raises:
        WriteError: The file system refuses to write the file.
    """
    found = {finding.category for image in images for finding in image.labels}
    categories = sorted(found, key=lambda category: (category.supercategory, category.name))
    ids = {category: number for number, category in enumerate(categories, start=1)}
    findings = [
        (image_id, _annotation_record(finding, image.shape, ids[finding.category]))
        for image_id, image in enumerate(images, start=1)
        for finding in image.labels
    ]
    document: dict[str, Any] = {
        "info": {"description": "Written by medvae"},
        "images": [
            {
                "id": identity,
                "file_name": image.file,
                "height": image.shape[0],
                "width": image.shape[1],
                **image.identity(),
            }
            for identity, image in enumerate(images, start=1)
        ],
        "annotations": [
            {"id": identity, "image_id": image_id, **record}
            for identity, (image_id, record) in enumerate(findings, start=1)
        ],
        "categories": [
            {"id": ids[c], "name": c.name, "supercategory": c.supercategory} for c in categories
        ],
    }
    write_text(Path(path), json.dumps(document, allow_nan=False) + "\n")


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
