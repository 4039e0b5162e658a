"""The gate `copy`: a candidate must not be a copy of a real slice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medvae.gates._candidate import Candidate, Verdict
from medvae.gates._limits import Limits
from medvae.gates._patch import Patch

__all__ = ["change", "judge_copy", "outline"]

_SIDE = 16

Picture = NDArray[np.float32]


def outline(picture: Picture) -> Picture:
    """Return the coarse shape of a canvas picture: a unit vector with a mean of 0, ``[256]``.

    A copy that is brighter or has more contrast is still a copy, and so is one that differs only
    in noise or the finest detail.
    """
    small = Image.fromarray(picture).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    shape = np.asarray(small, dtype=np.float64).ravel()
    shape = shape - shape.mean()
    length = np.sqrt(np.square(shape).sum())
    result: Picture = (shape / length if length > 0 else shape).astype(np.float32)
    return result


def change(before: Patch, after: Patch) -> float:
    """Return the root mean square difference between two boxes, in the model's units."""
    return float(np.sqrt(np.square(after.picture - before.picture).mean(dtype=np.float64)))


def judge_copy(candidate: Candidate, distance: float, limits: Limits) -> Verdict:
    """Judge a candidate by its distance to the nearest real slice.

    A transplant resembles its host by design, so it is judged by how much it changes at the lesion.
    """
    if candidate.donor is None:
        return Verdict("copy", "distance", distance, limits.distance)
    transplanted = candidate.rendered.labels.findings[len(candidate.source.labels) :]
    changes = []
    for finding in transplanted:
        before, after = Patch.of(candidate.source, finding), Patch.of(candidate.scene, finding)
        if before is not None and after is not None:
            changes.append(change(before, after))
    return Verdict("copy", "change", min(changes, default=0.0), limits.change)
