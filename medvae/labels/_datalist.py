"""Read and write findings as MONAI datalists: boxes in pixels or in space."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medvae.atomic import write_text
from medvae.errors import LabelError
from medvae.geometry import Box
from medvae.labels._format import LabelFormat, LabelledImage, LabelSource, index, numbers, text
from medvae.labels._ledger import Ledger, Record
from medvae.labels._match import SliceIndex, UnusableError
from medvae.labels._space import solid_on
from medvae.records import Category, Slice


def _items(value: object) -> list[dict[str, Any]]:
    """Return the items of a list that name an image; empty if ``value`` is not a list."""
    if not isinstance(value, list):
        return []
    return [item for item in value if isinstance(item, dict) and "image" in item]


class Datalist(LabelFormat):
    """MONAI datalist format: one JSON file with lists of items that name an image."""

    name = "MONAI datalist"
    option = "monai"

    def holds(self, source: LabelSource) -> bool:
        document = None if source.is_folder else source.document
        return isinstance(document, dict) and any(_items(value) for value in document.values())

    def resembles(self, source: LabelSource) -> str | None:
        """Return the format's name if the first fields are those of a datalist of boxes."""
        return self.name if {"image", "box"} <= source.fields else None

    def write(self, folder: Path, images: Sequence[LabelledImage]) -> None:
        write_datalist(folder / "datalist.json", images)

    def read(self, source: LabelSource, ledger: Ledger) -> str:
        """Read a datalist.

        A box of four numbers is ``xyxy`` in pixel edges of a picture or slice. A box of six is in
        LPS millimetres: ``cccwhd`` as in LUNA16, which is the centre and the extents along x, y
        and z, or two corners if the file has ``"box_mode": "xyzxyz"``. `label` holds names, or
        numbers, for which the file's ``labels`` may provide names.

        Raises:
            LabelError: The box mode is unknown.
        """
        path, document = source.path, source.document
        ledger.files.append(path)
        mode = document.get("box_mode", "cccwhd")
        if mode not in ("cccwhd", "xyzxyz"):
            raise LabelError(f"{path}: `box_mode` must be 'cccwhd' or 'xyzxyz' but is {mode!r}")
        for section, value in document.items():
            for number, item in enumerate(_items(value)):
                with ledger.record(f"{path.name}, {section} {number}") as record:
                    _read_item(record, item, path.parent, document)
        return self.name


def _read_item(
    record: Record, item: Mapping[str, Any], folder: Path, document: Mapping[str, Any]
) -> None:
    boxes, labels = item.get("box"), item.get("label")
    record.slices = _slices(item, folder, record.ledger.index)
    record.add_patient(item)
    if not isinstance(boxes, list):
        raise UnusableError("`box` is not a list; ignored")
    if not isinstance(labels, list) or len(labels) != len(boxes):
        raise UnusableError(
            f"has {len(boxes)} boxes, but `label` does not have as many entries; ignored"
        )
    record.mention()
    for number, (box, label) in enumerate(zip(boxes, labels, strict=True)):
        with record.ledger.record(f"{record.where}, box {number}", *record.slices) as entry:
            _add(entry, box, _category(label, document), document.get("box_mode", "cccwhd"))


def _slices(item: Mapping[str, Any], folder: Path, slices: SliceIndex) -> Sequence[Slice]:
    """Return the slice that an item refers to, or all slices of a volume."""
    image, frame = text(item, "image"), index(item, "frame")
    key = str(item.get("medvae_key") or "")
    if key or frame is not None:
        return [slices.slice(image, folder, key, frame)]
    return slices.series(image, folder)


def _add(record: Record, box: object, category: Category, mode: str) -> None:
    values = numbers(box, "box", (4, 6))
    if len(values) == 4:
        if len(record.slices) > 1:
            raise UnusableError(f"is a 2D box on a volume of {len(record.slices)} slices; ignored")
        record.add(category, Box(*values))
        return
    sides = list(zip(values[:3], values[3:], strict=True))
    if mode == "cccwhd":
        sides = [(centre - extent / 2, centre + extent / 2) for centre, extent in sides]
    if not all(low < high for low, high in sides):
        raise UnusableError("its box has no volume; ignored")
    record.add_solid(category, lambda slice_: solid_on(slice_, sides))


def _category(label: object, document: Mapping[str, Any]) -> Category:
    if isinstance(label, str):
        return Category(label)
    if type(label) is not int:
        raise UnusableError(f"its label {label!r} is neither a number nor a name; ignored")
    names, above = document.get("labels"), document.get("supercategories")
    name = names.get(str(label)) if isinstance(names, dict) else None
    supercategory = above.get(str(label)) if isinstance(above, dict) else None
    return Category(str(name or f"label_{label}"), str(supercategory or ""))


def write_datalist(path: str | Path, images: Sequence[LabelledImage]) -> None:
    """Write a datalist of ``xyxy`` boxes, with names for the numbers in `label` as ``labels``.

    MONAI loads a picture with x as its first axis, so the boxes apply to it unchanged.

    Raises:
        WriteError: The file system refuses to write the file.
    """
    found = {finding.category for image in images for finding in image.labels}
    categories = sorted(found, key=lambda category: (category.supercategory, category.name))
    numbered = {category: number for number, category in enumerate(categories)}
    items = [
        {
            "image": image.file,
            "box": image.labels.boxes.tolist(),
            "label": [numbered[finding.category] for finding in image.labels],
            **image.identity(),
        }
        for image in images
    ]
    document = {
        "labels": {str(number): c.name for c, number in numbered.items()},
        "supercategories": {str(number): c.supercategory for c, number in numbered.items()},
        "training": items,
    }
    write_text(Path(path), json.dumps(document, allow_nan=False) + "\n")
