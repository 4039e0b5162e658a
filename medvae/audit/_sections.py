"""The sections of a report: tables and figures of the measurements, with explanations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from medvae.audit._copies import Copies
from medvae.audit._figures import Dot, clouds, curves, dots, histograms
from medvae.audit._latent_sights import latent_gallery, latent_sights
from medvae.audit._latent_view import LatentView
from medvae.audit._latents import LatentPicture
from medvae.audit._lesions import CategoryLabels, LabelReport
from medvae.audit._measure import Measured, Side
from medvae.audit._page import Section, cell, drawing, gallery, numbers, paragraph, table
from medvae.audit._sights import KIND_WORDS, activations, lost_findings, worst_copies
from medvae.audit._two_sample import Separation
from medvae.pages import part, render

__all__ = ["opening", "sections", "summary"]

Report = Mapping[str, Any]

_DISTANCES = {
    "fid": "FID: 0 is the same",
    "kid": "KID: 0 is the same",
    "mmd": "MMD: 0 is the same",
    "precision": "Precision: synthetic slices among real ones",
    "recall": "Recall: real slices among synthetic ones",
    "density": "Density: how densely real slices lie around synthetic ones",
    "coverage": "Coverage: real slices with a synthetic one near",
}
_TESTS = {
    "t_test": "t-test, p < 0.05",
    "t_test_adjusted": "t-test, corrected for their number",
    "mann_whitney": "Mann-Whitney, p < 0.05",
    "mann_whitney_adjusted": "Mann-Whitney, corrected",
}
_BOXES = {
    "width": "width of the box, as a share of the canvas",
    "height": "height of the box, as a share of the canvas",
    "contrast-to-noise": "contrast to noise",
}


def summary(report: Report) -> str:
    """Return one line that states what the report covers."""
    sets = report["sets"]
    said = [
        f"{sets[name]['slices']} {name} slices of {sets[name]['patients']} patients"
        for name in ("real", "synthetic", "held-out")
        if name in sets
    ]
    return ", ".join(said)


def opening(report: Report) -> Markup:
    """Return the verdict in words and as a table, with advice on what to change."""
    rows = [
        {
            "name": _named(row),
            "question": row["question"],
            "mark": row["mark"],
            "value": cell(report, row["path"]),
            "baseline": cell(report, f"{row['path']}.baseline"),
            "bounds": row["bounds"],
        }
        for row in report["verdict"]["rows"]
    ]
    return Markup(render("verdict", verdict=report["verdict"], rows=rows))


def _named(row: Mapping[str, Any]) -> str:
    return f"{row['name']} ({row['extractor']})" if row["extractor"] else str(row["name"])


def sections(
    report: Report, measured: Measured, latent: LatentPicture | None, real: Side, synthetic: Side
) -> Iterator[Section]:
    """Yield the sections for which there are numbers."""
    yield Section("sets", "What was compared", tuple(_sets(report)))
    if measured.labels is not None:
        parts = _findings(report, measured.labels, real, synthetic)
        yield Section("findings", "Do findings still hold a lesion?", tuple(parts))
    yield Section(
        "copies", "Are slices copied?", tuple(_copies(report, measured.copies, real, synthetic))
    )
    yield Section("apart", "Can a network tell the sets apart?", tuple(_apart(report, measured)))
    yield Section("features", "Which features differ?", tuple(_features(report)))
    yield Section("distances", "How near, and how varied?", tuple(_distances(report)))
    if latent is not None:
        sights = latent_sights(latent, {"set": _both(latent.view)})
        shown = (_latent_table(report), latent_gallery(sights))
        yield Section("latent", "Where do they lie in the latent space?", shown)
    yield Section("method", "How this was measured", tuple(_method(report)))


def _sets(report: Report) -> Iterator[Markup]:
    sets = report["sets"]
    names = [name for name in ("real", "synthetic", "held-out") if name in sets]
    what = ("slices", "patients", "labelled_slices", "findings")
    yield table(
        "The sets",
        ("set", *(one.replace("_", " ") for one in what)),
        [(name, *(cell(report, f"sets.{name}.{one}") for one in what)) for name in names],
    )
    order = sets["synthetic"]["order"]
    if order is not None:
        names = [name for name in ("render", "sampler", "strength", "seed") if name in order]
        said = ", ".join(f"{name} {order[name]}" for name in names)
        yield paragraph(f"The synthetic set was asked for with {said}.")
    for note in sets["notes"]:
        yield paragraph(note)


def _findings(report: Report, labels: LabelReport, real: Side, synthetic: Side) -> Iterator[Markup]:
    yield paragraph(
        "A finding survives where its box still has the contrast, the visibility and the structure "
        "that the same finding keeps from one real slice to the next. Contrast is what is left of "
        "that of the source: 1 is all of it. Where no source is known, what can be seen at the "
        "place is compared with real findings and with places where there is none."
    )
    judged = labels.judged
    yield paragraph(
        f"Judged by the finding of the declared source: {judged['declared']}; by that of the "
        f"nearest real slice: {judged['nearest']}; by what can be seen alone: "
        f"{judged['visibility']}; not at all, because they fill their slice: {judged['unjudged']}."
    )
    rows = {"all": "labels"} | {
        name: f"labels.categories.{name}" for name in report["labels"]["categories"]
    }
    yield table(
        "Findings by category",
        ("category", "still a lesion", "real against real", "contrast kept", "5th percentile"),
        [
            (
                name,
                cell(report, f"{path}.survival"),
                cell(report, f"{path}.survival.baseline"),
                cell(report, f"{path}.contrast"),
                cell(report, f"{path}.contrast_low"),
            )
            for name, path in rows.items()
        ],
    )
    if labels.lost:
        yield part("heading", "Findings that are gone")
        yield lost_findings(real.canvases, synthetic.canvases, labels.lost)
    for name, category in labels.categories.items():
        if category.measures:
            path = f"labels.categories.{name}.boxes"
            yield part("heading", f"Boxes of {name}")
            yield numbers(
                report,
                "Largest difference between the cumulative distributions: 0 is the same",
                {measure: f"{path}.{measure}.difference" for measure in category.measures},
            )
            yield _boxes(name, category)


def _boxes(name: str, category: CategoryLabels) -> Markup:
    pairs = {
        what: {"real": one.real, "synthetic": one.synthetic}
        for what, one in category.measures.items()
    }
    found = [
        drawing(histograms(pairs[what], axis), f"{name}: {axis}, real and synthetic")
        for what, axis in _BOXES.items()
        if what in pairs
    ]
    if {"x", "y"} <= pairs.keys():
        centres = {
            side: np.stack((pairs["x"][side], 1 - pairs["y"][side]), axis=1)
            for side in ("real", "synthetic")
        }
        found.append(
            drawing(
                clouds(centres, "centre, left to right", "centre, bottom to top"),
                f"{name}: where the centres of boxes lie on the canvas, real and synthetic",
            )
        )
    return gallery("figures", found)


def _copies(report: Report, copies: Copies, real: Side, synthetic: Side) -> Iterator[Markup]:
    yield paragraph(
        "A slice is as near to a real one as copies are where the distance is below a limit that "
        "hardly any real slice keeps to another patient. That is expected of the slices it was "
        "made of, as a transplant is its host but for the lesion, and of their neighbours. It is "
        "a copy only where the real slice shows a patient who is not declared to be in it."
    )
    yield table(
        "Slices that are as near as copies to a real one",
        ("which is", "slices", "share", "real against real"),
        [
            (
                said,
                cell(report, f"nearest.kinds.{name}.slices"),
                cell(report, f"nearest.kinds.{name}.share"),
                cell(report, "copies.baseline") if name == "stranger" else "",
            )
            for name, said in KIND_WORDS.items()
        ]
        + [("copies, minus real against real", "", cell(report, "nearest.excess"), "")],
    )
    yield gallery(
        "figures",
        (
            drawing(
                histograms(
                    {
                        "real to other real": space.real_distance,
                        "synthetic to real": space.distance,
                    },
                    f"distance ({name}); the limit is {space.limit:.3g}",
                ),
                f"Distances to the nearest real slice in the space {name}",
            )
            for name, space in copies.spaces.items()
        ),
    )
    yield part("heading", "Nearest to a real slice")
    yield worst_copies(real.canvases, synthetic.canvases, copies)


def _apart(report: Report, measured: Measured) -> Iterator[Markup]:
    yield paragraph(
        "An area under the curve of 0.5 is guessing, 1 is always right. The small network learns "
        "from half of the patients, and is scored on the others. What it can tell apart a detector "
        "may also see; it does not say whether that matters."
    )
    published = {f"{size} x {size} pixels": one for size, one in measured.published.items()}
    found = published | {f"features: {name}": one for name, one in measured.features.items()}
    paths = [f"two_sample.published.{size}" for size in measured.published]
    paths += [f"two_sample.features.{name}" for name in measured.features]
    yield table(
        "Classifiers",
        ("classifier", "AUC", "real against real", "average precision"),
        [
            (
                name,
                cell(report, f"{path}.auc"),
                cell(report, f"{path}.auc.baseline"),
                cell(report, f"{path}.average_precision"),
            )
            for name, path in zip(found, paths, strict=True)
        ],
    )
    yield _curves(published, found)
    shown = measured.published[max(measured.published)].activations
    if shown:
        yield part("heading", "What the small network looks at")
        yield activations(shown)


def _curves(published: Mapping[str, Separation], found: Mapping[str, Separation]) -> Markup:
    """Draw the curves of the small network, and the areas of all classifiers."""
    areas = [(name, one.auc) for name, one in found.items()]
    rows = [Dot(name, e.value, e.low, e.high, e.baseline) for name, e in areas]
    roc = {name: (one.roc.x, one.roc.y) for name, one in published.items()}
    recall = {n: (one.precision_recall.x, one.precision_recall.y) for n, one in published.items()}
    return gallery(
        "figures",
        [
            drawing(
                dots(rows, "AUC", (0.0, 1.02)),
                "AUC of each classifier with its interval, beside real against real",
            ),
            drawing(
                curves(roc, "false positive rate", "sensitivity", (0, 1)),
                "ROC curves of the small network",
            ),
            drawing(
                curves(recall, "recall", "precision", (0.5, 0.5)),
                "Precision and recall of the small network",
            ),
        ],
    )


def _features(report: Report) -> Iterator[Markup]:
    yield paragraph(
        "Which share of the features has another mean in the synthetic set? Each patient counts "
        "once. Where nothing differs, 5 % do by chance before correction, and none after it."
    )
    for name, one in report["feature_tests"].items():
        path = f"feature_tests.{name}"
        yield table(
            f"{name}: {one['features']} features",
            ("test", "synthetic against real", "within real", "within synthetic"),
            [
                (
                    said,
                    *(
                        cell(report, f"{path}.{test}.{side}")
                        for side in ("between", "within_real", "within_synthetic")
                    ),
                )
                for test, said in _TESTS.items()
            ],
        )


def _distances(report: Report) -> Iterator[Markup]:
    yield paragraph(
        "Distances depend on the features and on the number of slices: compare them with their "
        "baseline, never with those of another report."
    )
    for name, one in report["distances"].items():
        rows = {said: f"distances.{name}.{measure}" for measure, said in _DISTANCES.items()}
        yield numbers(report, f"{name}: {one['slices']} slices on either side", rows)
    yield table(
        "Variety",
        ("measure", "synthetic", "real"),
        [
            (
                "MS-SSIM of pairs: lower is more varied",
                cell(report, "diversity"),
                cell(report, "diversity.baseline"),
            )
        ],
    )


def _latent_table(report: Report) -> Markup:
    sides = [side for side in ("real", "synthetic") if side in report["latent"]]
    return table(
        "Latents within [-1.5, 1.5]",
        ("set", "units (0.866 of N(0, 1))", "slices with all units"),
        [
            (
                side,
                cell(report, f"latent.{side}.inside"),
                cell(report, f"latent.{side}.wholly_inside"),
            )
            for side in sides
        ],
    )


def _both(view: LatentView) -> dict[str, NDArray[np.float64]]:
    sides = {"real": view.real, "synthetic": view.synthetic}
    return {name: side.points for name, side in sides.items() if side is not None}


def _method(report: Report) -> Iterator[Markup]:
    about = report["medvae"]
    yield paragraph(
        f"medvae {about['version']}, canvas {about['canvas']}, seed {about['seed']}. Numbers in "
        "brackets hold 95 % of what other patients of the same kind would give (a bootstrap over "
        "patients). 'Real against real' is the same number between "
        + (
            "the real slices and those that were held out."
            if "held-out" in report["sets"]
            else "real slices of some patients and of others, the mean of random splits."
        )
    )
    if about["model"] is None:
        yield paragraph(
            "No model was given: the latent space, copies in it and the features of its encoder "
            "are left out."
        )
    else:
        yield paragraph(f"The latent space is that of the model {about['model']}.")
    yield paragraph(
        f"Features were taken by: {', '.join(about['extractors'])}. Networks such as "
        "EfficientNet, ResNet-152 and VGG-11 take part where their weights are given."
    )
    unused = report["sets"]["not_used"]
    if unused:
        yield paragraph(f"{unused} files or labels could not be used; the command names them.")
