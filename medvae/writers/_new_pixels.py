"""What writers write: new pixels of slices, how they were made, and the names of their files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvae.errors import WriteError
from medvae.records import Pixels, Series

_ROUNDING = 4 * float(np.finfo(np.float32).eps)
"""Rounding error of real values in float32, relative to the largest value."""

_DIGITS = 4
"""Number of digits of a position in a series of unknown length."""


@dataclass(frozen=True)
class Synthesis:
    """Record of how the new pixels of one slice were made; it must not name a patient or a file.

    Attributes:
        run: Identifier that is unique to the run, such as a digest of the model, the seed and all
            options; the new UIDs depend on it.
        model: Digest of the model.
        render: Method that made the pixels, such as ``warp`` or ``reconstruction``.
        copy: Number of the copy of the series that the slice belongs to, from 1.
        sampler, strength, seed: Settings of the random draw, if there was one.
        preserves_locations: Whether each pixel shows the same location as in the source.
        allow_burned_in: Whether text that is burned into the pixels of the source is accepted.
        donors: Pseudonyms of other patients whose pixels the slice contains.
    """

    run: str
    model: str
    render: str
    copy: int = 1
    sampler: str | None = None
    strength: float | None = None
    seed: str | None = None
    preserves_locations: bool = True
    donors: tuple[str, ...] = ()
    allow_burned_in: bool = False

    def __str__(self) -> str:
        facts = {
            "render": self.render,
            "sampler": self.sampler,
            "strength": None if self.strength is None else f"{self.strength:g}",
            "seed": self.seed,
            "copy": self.copy,
            "model": self.model,
            "with pixels of patient": " and ".join(self.donors) or None,
        }
        return ", ".join(f"{name} {value}" for name, value in facts.items() if value is not None)


@dataclass(frozen=True)
class Scale:
    """Linear map from stored integers to real units: ``value = slope * stored + intercept``."""

    slope: float
    intercept: float

    @classmethod
    def of(cls, source: Pixels) -> Scale | None:
        """Return the scale of a slice, or None if it has none or stores 64 bits.

        Floats have no scale, and neither do integers that are mapped through a table.
        """
        # Values in float32 cannot represent all 64-bit integers.
        if source.stored.dtype.kind not in "iu" or source.stored.dtype.itemsize > 4:
            return None
        stored, values = source.stored.astype(np.float64), source.values.astype(np.float64)
        least, most = stored.argmin(), stored.argmax()
        span = stored.flat[most] - stored.flat[least]
        slope = float((values.flat[most] - values.flat[least]) / span) if span else 1.0
        scale = cls(slope, float(values.flat[least] - slope * stored.flat[least]))
        off = np.abs(scale.values(stored) - values).max()
        if slope == 0 or off > _ROUNDING * np.abs(values).max():
            return None
        return scale

    def values(self, stored: NDArray[Any]) -> NDArray[np.float64]:
        """Map stored integers of any shape to real units."""
        return stored * np.float64(self.slope) + self.intercept

    def stored(self, values: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Map real values of any shape to the nearest integers in the range of ``dtype``."""
        limits = np.iinfo(dtype)
        nearest = np.rint((values.astype(np.float64) - self.intercept) / self.slope)
        return nearest.clip(limits.min, limits.max).astype(dtype)


@dataclass(frozen=True, eq=False)
class NewPixels:
    """The new pixels of one slice, all ``[rows, columns]``.

    Attributes:
        stored: Integers on the source's scale and of its type; the values if it has no scale.
        values: Real values in float32, not rounded to the scale.
        scale: Scale of the source.
        padding: Mask that is true where the source file states that there is no image.
        synthesis: Record of how the pixels were made.
    """

    stored: NDArray[Any]
    values: NDArray[np.float32]
    scale: Scale | None
    padding: NDArray[np.bool_] | None
    synthesis: Synthesis

    @classmethod
    def of(cls, source: Pixels, values: NDArray[np.float32], synthesis: Synthesis) -> NewPixels:
        """Replace the values of a source by new ones, ``[rows, columns]``.

        Padding is unchanged. Pixels whose value has not changed keep their stored integer
        exactly.

        Raises:
            WriteError: A value is NaN or infinite.
        """
        if not np.isfinite(values).all():
            raise WriteError("some of the new pixels of a slice are NaN or infinite")
        if source.padding is not None:
            values = np.where(source.padding, source.values, values)
        scale = Scale.of(source)
        if scale is None:
            return cls(values, values, None, source.padding, synthesis)
        stored = scale.stored(values, source.stored.dtype)
        same = values == source.values
        stored[same] = source.stored[same]
        return cls(stored, values, scale, source.padding, synthesis)


def slice_names(series: Series, place: int | None) -> list[tuple[int, str]]:
    """Return the position and the name, ``PLACE_KEY``, of each slice in the order of the series.

    Args:
        series: Series whose slices are named.
        place: Position of the first slice, from 1, if the slices are part of a longer series.
    """
    digits = len(str(len(series.slices))) if place is None else _DIGITS
    return [
        (number, f"{number:0{digits}}_{native.key}")
        for number, native in enumerate(series.slices, place or 1)
    ]
