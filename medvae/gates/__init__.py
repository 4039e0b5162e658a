"""Gates that a synthetic slice must pass to be kept, with limits measured on real slices."""

from __future__ import annotations

from medvae.gates._draft import Draft, Retry, Verdict
from medvae.gates._gate import Gate, Limit, Limits, RealSlice, Reference, outline
from medvae.gates._gates import GATES, Calibration, Gates
from medvae.gates._lesion import contrast_kept, similarity
from medvae.gates._patch import Patch

__all__ = [
    "GATES",
    "Calibration",
    "Draft",
    "Gate",
    "Gates",
    "Limit",
    "Limits",
    "Patch",
    "RealSlice",
    "Reference",
    "Retry",
    "Verdict",
    "contrast_kept",
    "outline",
    "similarity",
]
