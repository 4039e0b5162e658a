"""Scores of a detector: average precision, and sensitivity at rates of false positives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from monai.apps.detection.metrics.coco import COCOMetric
from monai.apps.detection.metrics.matching import matching_batch
from monai.data.box_utils import box_iou
from numpy.typing import NDArray

from .detector import Found

__all__ = ["FALSE_POSITIVES", "Scores", "score"]

FALSE_POSITIVES = (0.125, 0.25, 0.5, 1, 2, 4, 8)
"""False positives per slice at which sensitivity is reported."""

_HIT = 0.3
"""Minimum IoU at which a finding counts as found, for sensitivity."""

_MOST = 100

Scores = dict[str, Any]


def _overlaps(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(box_iou(one, other))


def score(found: Sequence[Found], wanted: Sequence[NDArray[np.float32]]) -> Scores:
    """Compare the boxes that were found with the true ones.

    Args:
        found: Boxes and scores found on each slice.
        wanted: True boxes of each slice, ``[K, 4]``.

    Returns:
        ``ap30``, ``ap50`` and ``ap`` (the mean from 0.5 to 0.95) as MONAI's ``COCOMetric`` computes
        them; ``sensitivity`` by false positives per slice; and ``froc``, the mean sensitivity.
    """
    metric = COCOMetric(
        ["finding"], (0.3, 0.5), (0.5, 0.95, 0.05), (_MOST,), per_class=False, verbose=False
    )
    matches = matching_batch(
        _overlaps,
        metric.get_iou_thresholds(),
        [boxes for boxes, _ in found],
        [np.zeros(len(scores), dtype=np.int64) for _, scores in found],
        [scores for _, scores in found],
        wanted,
        [np.zeros(len(boxes), dtype=np.int64) for boxes in wanted],
        max_detections=_MOST,
    )
    values, _ = metric(matches)
    hit = int(np.argmin(np.abs(metric.iou_thresholds - _HIT)))
    sensitivity = _sensitivity([m[0] for m in matches if m], hit, len(found))
    return {
        "ap30": values[f"AP_IoU_0.30_MaxDet_{_MOST}"],
        "ap50": values[f"AP_IoU_0.50_MaxDet_{_MOST}"],
        "ap": values[f"mAP_IoU_0.50_0.95_0.05_MaxDet_{_MOST}"],
        "froc": float(np.mean(sensitivity)),
        "sensitivity": {
            f"{rate:g}": value for rate, value in zip(FALSE_POSITIVES, sensitivity, strict=True)
        },
    }


def _sensitivity(
    matches: Sequence[dict[str, NDArray[Any]]], threshold: int, slices: int
) -> list[float]:
    """Return the share of findings that are found at each rate of false positives."""
    scores = np.concatenate([match["dtScores"] for match in matches])
    hits = np.concatenate([match["dtMatches"][threshold] for match in matches]) > 0
    there = sum(match["gtMatches"].shape[1] for match in matches)
    hits = hits[np.argsort(-scores, kind="stable")]
    right, wrong = np.cumsum(hits), np.cumsum(~hits)
    return [float(right[wrong <= rate * slices].max(initial=0) / there) for rate in FALSE_POSITIVES]
