"""The report as numbers, written as ``report.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from medvae.audit._copies import KINDS, Copies
from medvae.audit._estimate import Estimate
from medvae.audit._input import Sets
from medvae.audit._latents import LatentPicture
from medvae.audit._lesions import BoxMeasure, CategoryLabels, LabelReport
from medvae.audit._measure import Measured
from medvae.audit._sets import SliceSet
from medvae.audit._two_sample import Separation

__all__ = ["NAMES", "as_report"]

NAMES = (
    "auc",
    "lesion_survival",
    "copies",
    "verdict",
    "sets",
    "two_sample",
    "feature_tests",
    "distances",
    "diversity",
    "latent",
    "labels",
    "nearest",
    "medvae",
)
"""The top-level names of a report, in this order."""


def as_report(
    sets: Sets, measured: Measured, latent: LatentPicture | None, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the report without its verdict.

    Args:
        sets: Sets that were compared.
        measured: Results of the measurements.
        latent: Latent view; None without a model.
        about: Settings of the measurements.
    """
    labels = measured.labels
    native = max(measured.published)
    found: dict[str, Any] = {
        "auc": measured.published[native].auc,
        "lesion_survival": None if labels is None else labels.survival,
        "copies": measured.copies.share,
        "verdict": None,
        "sets": {
            **{one.name: _set(one) for one in sets.all},
            "notes": sets.notes,
            "not_used": len(sets.problems),
        },
        "two_sample": {
            "published": {size: _separation(one) for size, one in measured.published.items()},
            "features": {name: _separation(one) for name, one in measured.features.items()},
        },
        "feature_tests": measured.tests,
        "distances": measured.distances,
        "diversity": measured.diversity,
        "latent": None if latent is None else _latent(latent),
        "labels": None if labels is None else _labels(labels),
        "nearest": _nearest(sets, measured.copies),
        "medvae": {"version": version("monai-medvae"), "native_size": native, **about},
    }
    report: dict[str, Any] = _plain(found)
    return report


def _set(one: SliceSet) -> dict[str, Any]:
    natives = [member.native for member in one.members]
    return {
        "slices": len(natives),
        "patients": len(one.patients),
        "labelled_slices": sum(native.labels is not None for native in natives),
        "findings": sum(len(native.labels or ()) for native in natives),
        "modalities": one.modalities,
        "categories": one.categories,
        "order": None if one.order is None else dict(one.order),
    }


def _separation(one: Separation) -> dict[str, Any]:
    return {"slices": one.slices, "auc": one.auc, "average_precision": one.average_precision}


def _latent(latent: LatentPicture) -> dict[str, Any]:
    view = latent.view
    sides = {"real": view.real, "synthetic": view.synthetic}
    return {
        "explained": view.explained,
        **{
            name: {"inside": side.inside, "wholly_inside": side.wholly_inside}
            for name, side in sides.items()
            if side is not None
        },
    }


def _labels(labels: LabelReport) -> dict[str, Any]:
    return {
        "survival": labels.survival,
        "contrast": labels.contrast,
        "contrast_low": labels.contrast_low,
        "judged": labels.judged,
        "categories": {name: _category(one) for name, one in labels.categories.items()},
        "lost": labels.lost,
        "limits": labels.limits,
    }


def _category(one: CategoryLabels) -> dict[str, Any]:
    return {
        "real": one.real,
        "synthetic": one.synthetic,
        "survival": one.survival,
        "contrast": one.contrast,
        "contrast_low": one.contrast_low,
        "boxes": {name: _measure(measure) for name, measure in one.measures.items()},
    }


def _measure(measure: BoxMeasure) -> dict[str, Any]:
    return {
        "real_median": float(np.median(measure.real)),
        "synthetic_median": float(np.median(measure.synthetic)),
        "difference": measure.difference,
    }


def _nearest(sets: Sets, copies: Copies) -> dict[str, Any]:
    real, made = sets.real.members, sets.synthetic.members
    return {
        "excess": copies.excess,
        "kinds": {
            name: {"slices": int((copies.kind == index).sum()), "share": copies.shares[name]}
            for index, name in enumerate(KINDS)
        },
        "spaces": {
            name: {
                "limit": space.limit,
                "median_distance": float(np.median(space.distance)),
                "real_median_distance": float(np.median(space.real_distance)),
            }
            for name, space in copies.spaces.items()
        },
        "worst": [
            {
                "synthetic": made[row].native.key,
                "real": real[copies.nearest[row]].native.key,
                "nearness": copies.nearness[row],
                "kind": copies.kind_of(row),
            }
            for row in copies.worst()
        ],
    }


def _plain(value: Any) -> Any:
    """Return a value as plain JSON data; null for numbers that are not finite."""
    if isinstance(value, Estimate):
        return value.as_json()
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
