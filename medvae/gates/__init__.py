"""Gates that a synthetic slice must pass to be kept, with limits measured on real slices."""

from __future__ import annotations

from medvae.gates._calibration import Calibration
from medvae.gates._candidate import Candidate, Origin, Verdict
from medvae.gates._copy import outline
from medvae.gates._gates import Gates
from medvae.gates._lesion import contrast_kept, similarity
from medvae.gates._limits import Limits
from medvae.gates._patch import Patch

__all__ = [
    "Calibration",
    "Candidate",
    "Gates",
    "Limits",
    "Origin",
    "Patch",
    "Verdict",
    "contrast_kept",
    "outline",
    "similarity",
]
