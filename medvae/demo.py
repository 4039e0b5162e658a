"""End-to-end demo: inspect, augment and audit the sample, and show the results on one page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.multival import MultiValue
from pydicom.uid import UID

from medvae.atomic import write_text
from medvae.auditing import Audit, audit
from medvae.augmentation import Augmented, augment
from medvae.folders import output
from medvae.inspection import Inspection, count_labels, inspect_studies
from medvae.intensity import model_image
from medvae.labels import attach_labels
from medvae.manifest import Manifest, ManifestLine
from medvae.pages import SlicePicture, colours_of, render
from medvae.progress import Progress, ignore_progress
from medvae.readers import open_studies
from medvae.records import Slice

__all__ = ["SAMPLE", "SAMPLE_HEAD", "SAMPLE_LABELS", "Demo", "demo"]

SAMPLE = Path(__file__).parent / "sample"
"""A few slices of the Sunnybrook Cardiac Data as DICOM; files in the folder give their source."""

SAMPLE_LABELS = SAMPLE / "coco.json"
"""Boxes and masks of the left ventricles."""

SAMPLE_HEAD = Path(__file__).parent / "sample_head"
"""A DICOM series of one head with known geometry, so that it can be written as DICOM again."""

_HEAD_STRENGTH = 0.2
"""The model was trained on hearts; a larger strength would deform a head implausibly."""

_HEAD_ATTRIBUTES = (
    *("SOPClassUID", "SyntheticData", "SeriesDescription", "ImageType", "Rows", "Columns"),
    *("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"),
)

_MEASURES = {
    "lesion_survival": "findings that are still there",
    "copies": "slices that copy a patient who is not declared in them",
    "auc": "how well a small network tells synthetic from real (0.5 is guessing)",
}
"""Headline figures of the audit's report."""

_SIDE = 256


@dataclass(frozen=True)
class Demo:
    """The results of the demo.

    Attributes:
        page: The HTML page that shows the results.
        inspection: What was read.
        augmented: The synthetic slices that were generated from the sample.
        audited: The result of the audit.
        dicom: The head series of the sample, augmented and written as DICOM.
    """

    page: Path
    inspection: Inspection
    augmented: Augmented
    audited: Audit
    dicom: Augmented


def demo(
    out: str | Path,
    *,
    model: str | Path = "cardiac_mr_vae",
    progress: Progress = ignore_progress,
) -> Demo:
    """Inspect, augment and audit the sample, and write a page that shows what happened.

    Args:
        out: Output folder, which must be empty or not exist yet.
        model: Trained bundle; the shipped one was trained on other patients of the same data set.
        progress: Called with (stage, done, total, note) as work proceeds.

    Raises:
        UsageProblem: If the folder is in use or not empty, or there is no such bundle.
        ReadError: If the bundle is damaged, or so poor that no slice was kept.
        WriteError: If the file system refuses.
    """
    out = Path(out)
    with output(out, [SAMPLE]):
        inspection = inspect_studies([SAMPLE], labels=SAMPLE_LABELS)
        augmented = augment(
            [SAMPLE], model, out / "synthetic", labels=SAMPLE_LABELS, progress=progress
        )
        dicom = augment(
            [SAMPLE_HEAD],
            model,
            out / "dicom",
            per="study",
            render="warp",
            strength=_HEAD_STRENGTH,
            formats=("dicom",),
            progress=progress,
        )
        audited = audit(
            [SAMPLE],
            out / "synthetic",
            out / "audit",
            labels=SAMPLE_LABELS,
            model=model,
            progress=progress,
        )
        demo = Demo(out / "index.html", inspection, augmented, audited, dicom)
        write_text(demo.page, _page(demo, Path(model).name))
        return demo


def _page(demo: Demo, model: str) -> str:
    inspection, audited = demo.inspection, demo.audited
    return render(
        "demo",
        title="What became of the sample",
        totals=inspection.totals,
        findings=count_labels(inspection.slices)["findings"],
        augmented=demo.augmented,
        dicom=demo.dicom,
        pairs=list(_pairs(inspection, demo.augmented.out)),
        head=_head(demo.dicom),
        head_strength=_HEAD_STRENGTH,
        verdict=audited.verdict.words,
        measures=[(name, audited.report[key]) for key, name in _MEASURES.items()],
        model=model,
    )


def _pairs(inspection: Inspection, synthetic: Path) -> Iterator[list[dict[str, object]]]:
    """Yield, for each patient, the middle one of the kept slices beside its source."""
    sources = {native.key: native for native in inspection.slices}
    studies = open_studies([synthetic / "images"]).studies
    labelled = attach_labels(studies, synthetic / "coco.json").studies
    made = {native.source.path.name: native for study in labelled for native in study.slices}
    kept: dict[str, list[ManifestLine]] = defaultdict(list)
    for line in Manifest(synthetic):
        if line.kept:
            kept[line.groups[0]].append(line)
    for lines in kept.values():
        line = lines[len(lines) // 2]
        yield [
            _figure("Source", sources[line.sources[0]]),
            _figure("Synthetic", made[Path(line.files[0]).name]),
        ]


def _head(made: Augmented) -> dict[str, Any] | None:
    """Return a slice of the head and the synthetic one made from it, both opened from files."""
    lines = [line for line in Manifest(made.out) if line.kept]
    if not lines:
        return None
    line = lines[len(lines) // 2]
    written = made.out / line.files[0]
    (result,) = open_studies([written]).slices
    (source,) = (s for s in open_studies([SAMPLE_HEAD]).slices if s.key == line.sources[0])
    headers = [dcmread(path, stop_before_pixels=True) for path in (source.source.path, written)]
    return {
        "pictures": [_figure("Source", source), _figure("Synthetic", result)],
        "attributes": [
            (name, *(_value(header, name) for header in headers)) for name in _HEAD_ATTRIBUTES
        ],
    }


def _value(header: Dataset, name: str) -> str:
    """Return the value of an attribute as text."""
    value = header.get(name)
    if value is None:
        return "absent"
    if isinstance(value, UID):
        return str(value.name)
    values = value if isinstance(value, MultiValue) else [value]
    return ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values)


def _figure(name: str, native: Slice) -> dict[str, object]:
    """Return a slice with its findings for the page, captioned with the sizes of the boxes."""
    image, canvas, _ = model_image(native, native.pixels(), _SIDE)
    findings = native.labels or ()
    names = list(dict.fromkeys(finding.category.name for finding in findings))
    sizes = ", ".join(
        f"{finding.box.width:g} \N{MULTIPLICATION SIGN} {finding.box.height:g}"
        for finding in findings
    )
    boxed = f" with the box of {', '.join(names)}" if findings else ""
    picture = SlicePicture.of(image, canvas, findings, colours_of(names), f"{name} slice{boxed}")
    return {"picture": picture, "caption": f"{name}: box {sizes}" if findings else name}
