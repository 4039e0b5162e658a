"""One slice as returned by a decoder, before it leaves the worker process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Decoded"]


@dataclass
class Decoded:
    """Stored values ``[rows, columns]`` and their conversion to real values.

    Attributes:
        padding: First and last stored value that mark padding; for NaN both are NaN.
        values: Real values, if they are not ``slope * stored + intercept``.
    """

    stored: NDArray[Any]
    slope: float = 1.0
    intercept: float = 0.0
    padding: tuple[float, float] | None = None
    values: NDArray[np.float32] | None = None
