"""The report of an audit: its numbers for ``report.json``, and its page ``report.html``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from markupsafe import Markup

from medvae.auditing._page import PageSection, Report, cell, expanded
from medvae.auditing._registry import STATISTICS
from medvae.auditing._sets import SliceSet, notes_on
from medvae.auditing._statistic import AuditSettings, ComparedSets, Statistic
from medvae.auditing._verdict import AuditVerdict, judge
from medvae.pages import part, render

_ABOUT_AUGMENTATION = ("render", "sampler", "strength", "seed")
_COUNTS = ("slices", "patients", "labelled_slices", "findings")


def as_report(
    sets: ComparedSets, results: Mapping[str, Any], settings: AuditSettings
) -> tuple[dict[str, Any], AuditVerdict]:
    """Return the report as plain JSON data, and the verdict that is part of it.

    Args:
        sets: The sets that were compared.
        results: Results of the statistics by name; None for those that could not be measured.
        settings: Settings of the measurements.
    """
    decoded = (sets.real, sets.synthetic, sets.held_out)
    slice_sets = [one.set for one in decoded if one is not None]
    found: dict[str, Any] = {
        "verdict": None,
        "sets": {
            **{one.name: _described(one) for one in slice_sets},
            "notes": list(notes_on(slice_sets)),
            "not_used": sum(len(one.problems) for one in slice_sets),
        },
        **{
            name: None if (result := results[name]) is None else statistic.as_json(result)
            for name, statistic in STATISTICS.items()
        },
        "medvae": {
            "version": version("monai-medvae"),
            "canvas": settings.image_size,
            "seed": settings.seed,
            "epochs": settings.epochs,
            "model": None if settings.model is None else settings.model.digest,
            "extractors": list(sets.real.features),
        },
    }
    report: dict[str, Any] = _plain(found)
    verdict = judge(report, sets.synthetic.set.augmentation)
    report["verdict"] = _plain(verdict)
    return report, verdict


def _plain(value: Any) -> Any:
    """Return a value as plain JSON data; null for numbers that are not finite."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(vars(value))
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _described(one: SliceSet) -> dict[str, Any]:
    natives = [item.native for item in one.slices]
    return {
        "slices": len(natives),
        "patients": len(one.patients),
        "labelled_slices": sum(native.labels is not None for native in natives),
        "findings": sum(len(native.labels or ()) for native in natives),
        "modalities": one.modalities,
        "categories": one.categories,
        "augmentation": None if one.augmentation is None else dict(one.augmentation),
    }


def as_page(report: Report, results: Mapping[str, Any], sets: ComparedSets) -> str:
    """Return the report as HTML.

    Args:
        report: The numbers of the report.
        results: Results of the statistics by name; None for those that could not be measured.
        sets: The sets that were compared.
    """
    sections = [PageSection("sets", "What was compared", tuple(_sets(report)))]
    for name, statistic in STATISTICS.items():
        if results[name] is not None:
            parts = (
                part("paragraph", statistic.explanation),
                _table(statistic, report),
                *statistic.section(results[name], sets),
            )
            sections.append(PageSection(name, statistic.title, parts))
    method = tuple(part("paragraph", text) for text in _method(report))
    sections.append(PageSection("method", "How this was measured", method))
    return render(
        "sections",
        title="Comparison of synthetic and real slices",
        summary=", ".join(
            f"{report['sets'][name]['slices']} {name} slices of "
            f"{report['sets'][name]['patients']} patients"
            for name in _set_names(report)
        ),
        sections=sections,
        opening=[_verdict(report)],
    )


def _table(statistic: Statistic, report: Report) -> Markup:
    """Return a table of the numbers of a statistic that are in the report."""
    columns = ("measure", "synthetic against real", "real against real")
    cells = [
        (f"{text} ({name})" if name else text, cell(report, full), cell(report, f"{full}.baseline"))
        for path, text in statistic.numbers.items()
        for name, full in expanded(report, f"{statistic.name}.{path}".removesuffix(".")).items()
    ]
    return part("table", "Measured values, with their intervals in brackets", columns, cells)


def _set_names(report: Report) -> list[str]:
    return [name for name in ("real", "synthetic", "held-out") if name in report["sets"]]


def _verdict(report: Report) -> Markup:
    """Return the verdict in words and as a table, with advice on what to change."""
    rows = [
        row
        | {
            "name": f"{row['name']} ({row['extractor']})" if row["extractor"] else row["name"],
            "value": cell(report, row["path"]),
            "baseline": cell(report, f"{row['path']}.baseline"),
        }
        for row in report["verdict"]["rows"]
    ]
    return Markup(render("verdict", verdict=report["verdict"], rows=rows))


def _sets(report: Report) -> Iterator[Markup]:
    sets, names = report["sets"], _set_names(report)
    columns = ("set", *(one.replace("_", " ") for one in _COUNTS))
    counts = [(n, *(cell(report, f"sets.{n}.{one}") for one in _COUNTS)) for n in names]
    yield part("table", "The sets", columns, counts)
    settings = sets["synthetic"]["augmentation"]
    if settings is not None:
        known = ", ".join(f"{n} {settings[n]}" for n in _ABOUT_AUGMENTATION if n in settings)
        yield part("paragraph", f"The synthetic set was made by 'medvae augment' with {known}.")
    for note in sets["notes"]:
        yield part("paragraph", note)


def _method(report: Report) -> Iterator[str]:
    about, unused = report["medvae"], report["sets"]["not_used"]
    yield (
        f"medvae {about['version']}, canvas {about['canvas']}, seed {about['seed']}. The interval "
        "in brackets contains 95 % of the values that other patients of the same kind would give "
        "(a bootstrap over patients). 'Real against real' is the same number, measured between "
    ) + (
        "the real slices and the held-out ones."
        if "held-out" in report["sets"]
        else "real slices of different patients, as the mean of random splits."
    )
    if about["model"] is None:
        yield (
            "No model was given, so the features of its encoder, and copies in its latent space, "
            "are left out."
        )
    else:
        yield f"The features 'encoder' are the latents of the model {about['model']}."
    if unused:
        yield f"{unused} files or labels could not be used; the command lists them."
