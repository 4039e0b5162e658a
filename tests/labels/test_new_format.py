"""A label format takes a class and a line in the registry."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from made_studies import LESION, boxed, labels_of, pictures

from medvae.geometry import Box
from medvae.labels import (
    LABEL_FORMATS,
    LabelFormat,
    LabelledImage,
    LabelSource,
    Ledger,
    attach_labels,
    label_format,
    written_formats,
)
from medvae.records import Labels

BOX = Box(12.0, 5.0, 18.0, 15.0)


class Lines(LabelFormat):
    """A file with one JSON array of a picture's name and a box on each line."""

    name = "lines"
    option = "lines"

    def holds(self, source: LabelSource) -> bool:
        return source.has((".lines",))

    def resembles(self, source: LabelSource) -> str | None:
        return self.name if self.holds(source) else None

    def read(self, source: LabelSource, ledger: Ledger) -> str:
        ledger.files.append(source.path)
        for number, line in enumerate(source.path.read_text().splitlines(), start=1):
            file, x0, y0, x1, y1 = json.loads(line)
            with ledger.record(f"line {number}"):
                slice_ = ledger.index.slice(file, source.folder)
                ledger.add_box(f"line {number}", slice_, LESION, Box(x0, y0, x1, y1))
        return self.name

    def write(self, folder: Path, images: Sequence[LabelledImage]) -> None:
        lines = [
            json.dumps([image.file, *finding.box]) for image in images for finding in image.labels
        ]
        (folder / "labels.lines").write_text("\n".join(lines))


def test_it_is_written_recognised_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medvae.labels._attach.LABEL_FORMATS", [Lines(), *LABEL_FORMATS])
    (chosen,) = written_formats(["lines"])
    chosen.write(tmp_path, [LabelledImage("a.png", (20, 30), Labels((boxed(BOX, LESION),)))])
    path = tmp_path / "labels.lines"
    assert label_format(path) == "lines"
    labelled = attach_labels([pictures(tmp_path / "images", ["a.png"])], path)
    assert labelled.format == "lines"
    assert labels_of(labelled)["a.png"] == Labels((boxed(BOX, LESION),))
