"""The sample from end to end: inspected, augmented, audited, and shown on one page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.multival import MultiValue
from pydicom.uid import UID

from medvae.atomic import write_text
from medvae.audit import Audit, audit
from medvae.augmentation import Augmented, Progress, augment
from medvae.errors import DecodeError
from medvae.folders import output
from medvae.inspection import Inspection, count_labels, inspect_studies
from medvae.intensity import model_image
from medvae.labels import attach_labels
from medvae.manifest import Line, Manifest
from medvae.overlays import COLOURS, drawn, head, png, safe
from medvae.readers import open_studies, read_pixels
from medvae.records import Slice

__all__ = ["SAMPLE", "SAMPLE_HEAD", "SAMPLE_LABELS", "Demo", "demo"]

SAMPLE = Path(__file__).parent / "sample"
"""A few slices of the Sunnybrook Cardiac Data as DICOM; what is with them says where from."""

SAMPLE_LABELS = SAMPLE / "coco.json"
"""Boxes and masks of the left ventricles."""

SAMPLE_HEAD = Path(__file__).parent / "sample_head"
"""A series of one head as DICOM, whose geometry is known: it can be written as DICOM again."""

_HEAD_STRENGTH = 0.2
"""The model knows hearts: larger steps of it would deform a head as no head is formed."""

_HEAD_ATTRIBUTES = (
    "SOPClassUID",
    "SyntheticData",
    "SeriesDescription",
    "ImageType",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
)

_AUDIT_SIZES = (64, 32)
"""Beside the model's own, to be done soon."""

_SIDE = 256

_STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --quiet: #57606a; --page: #fff; --line: #d0d7de;
  --card: #f6f8fa }
@media screen and (prefers-color-scheme: dark) {
  :root { --text: #e6edf3; --quiet: #9aa4af; --page: #0d1117; --line: #30363d; --card: #161b22 }
}
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem; color: var(--text);
  background: var(--page); font: 15px/1.5 system-ui, sans-serif }
h1 { margin: 0 0 .25rem; font-size: 1.6rem }
h2 { margin: 2.2rem 0 .5rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line);
  font-size: 1.2rem }
p { max-width: 50rem; margin: .5rem 0 }
a { color: inherit }
.quiet, figcaption { color: var(--quiet) }
pre { overflow-x: auto; margin: .6rem 0; padding: .7rem .9rem; border-radius: .3rem;
  background: var(--card); font: .85rem/1.6 ui-monospace, monospace }
.pairs { display: grid; gap: 1.2rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr)) }
.pair { display: flex; gap: .4rem; break-inside: avoid }
figure { flex: 1; min-width: 0; margin: 0 }
figcaption { padding-top: .2rem; font-size: .8rem }
.picture { position: relative; background: #000 }
.picture img { display: block; width: 100%; height: auto }
.picture svg { position: absolute; inset: 0; width: 100%; height: 100%; fill: none;
  stroke-width: 1.5 }
svg * { vector-effect: non-scaling-stroke }
table { border-collapse: collapse; margin: .8rem 0; font-variant-numeric: tabular-nums }
th, td { padding: .35rem 1.2rem .35rem 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top }
:focus-visible { outline: 3px solid #2f81f7; outline-offset: 2px }
@media print { body { padding: 0; print-color-adjust: exact; -webkit-print-color-adjust: exact } }
"""

_OWN = """medvae inspect studies/ --labels studies/coco.json --pictures sheet.html
medvae train studies/ --labels studies/coco.json --out run
medvae augment studies/ --labels studies/coco.json --model run --out synthetic
medvae audit --real studies/ --labels studies/coco.json --synthetic synthetic --model run \\
  --out audit"""


@dataclass(frozen=True)
class Demo:
    """What became of the sample.

    Attributes:
        page: the page to look at.
        inspection: what was read.
        augmented: what was made of it.
        audited: what came of the audit.
        dicom: The head of the sample, augmented and written as DICOM.
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
    progress: Progress | None = None,
) -> Demo:
    """Inspect, augment and audit the sample, and write a page that shows what happened.

    Args:
        out: a folder that is empty or not there yet.
        model: a trained bundle; the one that ships knows other patients of the same data.
        progress: is told how it goes on.

    Raises:
        UsageProblem: the folder is in use or not empty, or there is no such bundle.
        ReadError: the bundle is damaged, or so poor that no slice was kept.
        WriteError: the file system refuses.
    """
    with output(Path(out), [SAMPLE]):
        return _shown(Path(out), model, progress)


def _shown(out: Path, model: str | Path, progress: Progress | None) -> Demo:
    inspection = inspect_studies([SAMPLE], labels=SAMPLE_LABELS)
    augmented = augment(
        [SAMPLE],
        model,
        out / "synthetic",
        labels=SAMPLE_LABELS,
        progress=progress,
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
        sizes=_AUDIT_SIZES,
        progress=progress,
    )
    page = out / "index.html"
    demo = Demo(page, inspection, augmented, audited, dicom)
    write_text(page, _page(demo, Path(model).name))
    return demo


def _page(demo: Demo, model: str) -> str:
    inspection, augmented, audited = demo.inspection, demo.augmented, demo.audited
    totals, labels = inspection.totals, count_labels(inspection.slices)
    pairs = list(_pairs(inspection, augmented.out))
    return f"""{head("medvae: what became of the sample", _STYLE)}
<body>
<header>
<h1>What became of the sample</h1>
<p>{augmented.kept} synthetic slices were made of {totals["slices"]} real ones. Nothing was
downloaded or sent anywhere. The heart in each synthetic slice is deformed as a model says that
hearts vary; the pixels are those of the scan, and masks and boxes moved along.</p>
</header>
<main>
<h2>Read</h2>
<p>{totals["patients"]} patients, {totals["slices"]} slices, {labels["findings"]} left ventricles
with box and mask: an excerpt of the Sunnybrook Cardiac Data (Radau et al., 2009), which are in the
public domain. It is the folder <code>medvae/sample</code> of the installation.</p>
<pre>medvae inspect sample --labels sample/coco.json</pre>
<h2>Augmented</h2>
<p>{augmented.kept} of {augmented.draws} draws kept{_rejected(augmented)}. One of each patient is
shown here, and <a href="synthetic/preview.html">more of them</a> on a page where they blink.</p>
<div class="pairs">
{"".join(pairs)}</div>
<pre>medvae augment sample --labels sample/coco.json --model {safe(model)} --out synthetic</pre>
<h2>Written as DICOM</h2>
{_dicom(demo.dicom)}
<pre>medvae augment sample_head --model {safe(model)} --per study --render warp \\
  --strength {_HEAD_STRENGTH} --format dicom --out dicom</pre>
<h2>Audited</h2>
<p>{safe(audited.verdict.words)}</p>
{_table(audited.report)}
<p>An audit of so few patients can say little: intervals are wide.
<a href="audit/report.html">The report</a> has the rest.</p>
<pre>medvae audit --real sample --labels sample/coco.json --synthetic synthetic \\
  --model {safe(model)} --out audit</pre>
<h2>The same with your own data</h2>
<p>The model knows cardiac MR alone. Train one on your own slices, of a dozen patients or more; an
hour on two cores gives a first impression.</p>
<pre>{_OWN}</pre>
<p class="quiet">Synthetic slices are for training, not for diagnosis. They are no anonymisation:
neighbours of a patient's slices are that patient's data.</p>
</main>
</body>
</html>
"""


_MEASURES = {
    "lesion_survival": "findings that are still there",
    "copies": "slices that copy a patient who is not declared in them",
    "auc": "how well a small network tells synthetic from real (0.5 is guessing)",
}


def _table(report: Mapping[str, Any]) -> str:
    """Show what the report has at its top, with intervals, beside the same for real slices."""
    rows = "".join(
        f'<tr><th scope="row">{name}</th><td>{_said(report[key])}</td>'
        f"<td>{_number((report[key] or {}).get('baseline'))}</td></tr>\n"
        for key, name in _MEASURES.items()
    )
    return f"""<table>
<thead><tr><th scope="col">measure</th><th scope="col">synthetic against real</th>
<th scope="col">real against real</th></tr></thead>
<tbody>
{rows}</tbody>
</table>"""


def _said(estimate: Mapping[str, float | None] | None) -> str:
    if estimate is None or estimate["value"] is None:
        return "not measured"
    said = _number(estimate["value"])
    if estimate["low"] is None:
        return said
    return f"{said} ({_number(estimate['low'])} to {_number(estimate['high'])})"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _pairs(inspection: Inspection, synthetic: Path) -> Iterator[str]:
    """Show of each patient the middle one of the slices that were kept, beside its source."""
    sources = {native.key: native for native in inspection.slices}
    studies = open_studies([synthetic / "images"]).studies
    labelled = attach_labels(studies, synthetic / "coco.json").studies
    made = {native.source.path.name: native for study in labelled for native in study.slices}
    kept: dict[str, list[Line]] = defaultdict(list)
    for line in Manifest(synthetic).lines:
        if line["outcome"] == "kept":
            kept[line["groups"][0]].append(line)
    for lines in kept.values():
        line = lines[len(lines) // 2]
        source = _figure("Source", sources[line["sources"][0]])
        result = _figure("Synthetic", made[Path(line["files"][0]).name])
        yield f'<div class="pair">{source}{result}</div>\n'


def _rejected(made: Augmented) -> str:
    """Say how many draws were rejected, for each reason."""
    return safe("".join(f"; {number} rejected: {reason}" for reason, number in made.rejected))


def _dicom(made: Augmented) -> str:
    """Show a slice of the head beside what was made of it, both opened from their files."""
    lines = [line for line in Manifest(made.out).lines if line["outcome"] == "kept"]
    said = f"<p>{made.kept} of {made.draws} slices of a head were written{_rejected(made)}. "
    if not lines:
        return f"{said}</p>"
    line = lines[len(lines) // 2]
    written = made.out / line["files"][0]
    (result,) = open_studies([written]).slices
    (source,) = (s for s in open_studies([SAMPLE_HEAD]).slices if s.key == line["sources"][0])
    headers = [dcmread(path, stop_before_pixels=True) for path in (source.source.path, written)]
    rows = "".join(
        f'<tr><th scope="row">{name}</th>'
        + "".join(f"<td>{safe(_value(header, name))}</td>" for header in headers)
        + "</tr>\n"
        for name in _HEAD_ATTRIBUTES
    )
    return f"""{said}The positions of the heart slices are not known, so that they
cannot be written as DICOM. Those of this head are: it is an anatomical MR scan without face of the
studyforrest dataset (Hanke et al., 2014), in the public domain, in the folder
<code>medvae/sample_head</code>. The model has seen hearts alone, and the deformation is small on
purpose: this shows the files, not what a model of heads would do. All slices move as one, geometry
and units are those of the source, and the header says that the slice is synthetic.</p>
<div class="pairs"><div class="pair">{_figure("Source", source)}{_figure("Synthetic", result)}</div>
</div>
<table>
<thead><tr><th scope="col">attribute</th><th scope="col">source</th>
<th scope="col">synthetic</th></tr></thead>
<tbody>
{rows}</tbody>
</table>"""


def _value(header: Dataset, name: str) -> str:
    """Return the value of an attribute as text."""
    value = header.get(name)
    if value is None:
        return "absent"
    if isinstance(value, UID):
        return value.name
    values = value if isinstance(value, MultiValue) else [value]
    return ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values)


def _figure(name: str, native: Slice) -> str:
    """One slice with its findings, and the sizes of their boxes."""
    ((_, pixels),) = read_pixels([native])
    if isinstance(pixels, DecodeError):
        raise pixels
    image, canvas, _ = model_image(native, pixels, _SIDE)
    findings = native.labels or ()
    overlay = "".join(drawn(finding, canvas, COLOURS[0]) for finding in findings)
    sizes = ", ".join(
        f"{x1 - x0:g} &times; {y1 - y0:g}" for x0, y0, x1, y1 in (f.box for f in findings)
    )
    boxed = f" with the box of {', '.join(f.category.name for f in findings)}" if findings else ""
    alt = safe(f"{name} slice{boxed}")
    return (
        f'<figure><div class="picture"><img src="{png(image)}" alt="{alt}" width="{_SIDE}">'
        f'<svg viewBox="0 0 {_SIDE} {_SIDE}" aria-hidden="true">{overlay}</svg></div>'
        f"<figcaption>{name}{f': box {sizes}' if findings else ''}</figcaption></figure>"
    )
