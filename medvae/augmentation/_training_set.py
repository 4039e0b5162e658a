"""Labels of a run in the formats that detectors are trained from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from medvae.labels import LabelledImage, finding_from_record, written_formats
from medvae.manifest import Line
from medvae.records import Labels

__all__ = ["frames", "write_labels"]


def write_labels(
    out: Path, lines: Iterable[Line], real: Sequence[LabelledImage], formats: Sequence[str]
) -> None:
    """Write the labels of all kept slices in each format, after those of the real slices.

    If images are written in several formats, the labels name the files of the first. COCO and
    datalist give paths relative to the folder of the run; YOLO has files beside the images.

    Raises:
        WriteError: If the file system refuses.
    """
    images = [*real, *_images(lines)]
    for label_format in written_formats(formats):
        label_format.write(out, images)


def frames(files: Sequence[str]) -> list[int | None]:
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


def _images(lines: Iterable[Line]) -> Iterator[LabelledImage]:
    kept = [line for line in lines if line["outcome"] == "kept"]
    for line, frame in zip(kept, frames([line["files"][0] for line in kept]), strict=True):
        if not line["labelled"]:
            continue
        rows, columns = line["shape"]
        shape = (rows, columns)
        findings = tuple(finding_from_record(record, shape) for record in line["labels"])
        groups = "+".join(line["groups"])
        yield LabelledImage(line["files"][0], shape, Labels(findings), groups, line["key"], frame)
