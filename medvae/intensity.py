"""Convert native slices to model images, with intensities in [0, 1] on a square canvas.

Both steps can be inverted. An ``IntensityMap`` maps native units (HU, counts) to the model's units
and back; a ``Canvas`` maps the slice to a square in standard orientation and back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medvae.errors import UsageProblem
from medvae.geometry import Geometry
from medvae.notices import notice
from medvae.records import Pixels, Slice

__all__ = [
    "SIZE",
    "WINDOWS",
    "Canvas",
    "IntensityMap",
    "IntensityRule",
    "full_range",
    "intensity_for",
    "intensity_rule",
    "model_image",
    "percentile",
    "standard_flips",
    "window",
    "zscore",
]

SIZE = 224
"""Default number of rows and columns of the canvas."""

Padding = NDArray[np.bool_] | None

_LARGEST_RATIO = 1000.0
"""Largest plausible ratio of the sides of a pixel; files that give a larger one are ignored."""

WINDOWS = {
    "soft-tissue": (40.0, 400.0),
    "lung": (-600.0, 1500.0),
    "bone": (400.0, 1800.0),
    "brain": (40.0, 80.0),
}
"""Centre and width of each named window, in HU."""

# Most labelled lesions in CT differ from their organ by less than 80 HU. This is a fifth of the
# soft-tissue window, but a twenty-fifth of -1000 to 1000 HU, where the model would miss them.
_SPEC_OF_MODALITY = {"CT": "window:soft-tissue", "CR": "full", "DX": "full"}
_SPEC_OF_OTHERS = "percentile:0.5,99.5"

_ARGUMENTS = {
    "window": f"takes a centre and a width above 0, or one of {', '.join(WINDOWS)}",
    "percentile": "takes two percentages, the lower first",
    "zscore": "takes one number above 0",
    "full": "takes no argument",
}


@dataclass(frozen=True)
class IntensityMap:
    """A clipped linear map from native units to [0, 1]. Native values must be finite.

    Attributes:
        low: Native value that is mapped to 0.
        high: Native value that is mapped to 1. It is less than ``low`` if low values are shown
            bright, and equal to it for a constant image, which is mapped to 0.
        name: Spec of the map, such as ``window:40,400``.
    """

    low: float
    high: float
    name: str

    def to_model(self, values: NDArray[Any], padding: Padding = None) -> NDArray[np.float32]:
        """Map native values of any shape to [0, 1], and those under ``padding`` to 0."""
        if self.low == self.high:
            return np.zeros(np.shape(values), dtype=np.float32)
        unit = (np.asarray(values, dtype=np.float64) - self.low) / (self.high - self.low)
        if padding is not None:
            unit[padding] = 0
        return np.clip(unit, 0, 1).astype(np.float32)

    def from_model(self, unit: NDArray[Any]) -> NDArray[np.float32]:
        """Map model units back to native units, extrapolating linearly beyond [0, 1]."""
        scaled = np.asarray(unit, dtype=np.float64) * (self.high - self.low)
        return (scaled + self.low).astype(np.float32)

    def restore(
        self,
        source: NDArray[np.float32],
        before: NDArray[np.float32],
        after: NDArray[np.float32],
        padding: Padding = None,
    ) -> NDArray[np.float32]:
        """Transfer a change made in model units to the native image.

        Where nothing changed, and in the padding, the result is exactly the source, so that values
        that the map had clipped are restored.

        Args:
            source: Native values before the change. All arrays have the same, arbitrary shape.
            before: Values in model units before the change.
            after: Values in model units after the change.
            padding: True where the source holds no image.
        """
        change = (np.asarray(after, dtype=np.float64) - before) * (self.high - self.low)
        if padding is not None:
            change[padding] = 0
        return (source + change).astype(np.float32)


IntensityRule = Callable[[NDArray[Any], Padding], IntensityMap]
"""Function that chooses the map for an image from its values and its padding."""


def window(centre: float, width: float) -> IntensityMap:
    """Return the map of the fixed window with this centre and width."""
    return IntensityMap(
        centre - width / 2, centre + width / 2, f"window:{centre:.10g},{width:.10g}"
    )


def percentile(
    values: NDArray[Any], padding: Padding = None, low: float = 0.5, high: float = 99.5
) -> IntensityMap:
    """Return the map from one percentile to another of the values outside the padding."""
    inside = _inside(values, padding)
    least, most = np.percentile(inside, (low, high))
    return _image_map(inside, least, most, f"percentile:{low:.10g},{high:.10g}")


def zscore(values: NDArray[Any], padding: Padding = None, spread: float = 3) -> IntensityMap:
    """Return the map from ``spread`` standard deviations below the mean to as many above it."""
    inside = _inside(values, padding)
    mean, reach = inside.mean(), spread * inside.std()
    return _image_map(inside, mean - reach, mean + reach, f"zscore:{spread:.10g}")


def full_range(values: NDArray[Any], padding: Padding = None) -> IntensityMap:
    """Return the map from the smallest to the largest value outside the padding.

    The range of the file's integer type would be too wide: 12 bits are mostly stored in 16.
    """
    inside = _inside(values, padding)
    return IntensityMap(float(inside.min()), float(inside.max()), "full")


def _inside(values: NDArray[Any], padding: Padding) -> NDArray[np.float64]:
    inside = values.ravel() if padding is None else values[~padding]
    return inside.astype(np.float64) if inside.size else np.zeros(1)


def _image_map(inside: NDArray[np.float64], low: float, high: float, name: str) -> IntensityMap:
    # The last slices of a head are nearly all background, which then contains both percentiles.
    # The few pixels of the head must not vanish.
    if low == high:
        low, high = inside.min(), inside.max()
    return IntensityMap(float(low), float(high), name)


def intensity_rule(spec: str) -> IntensityRule:
    """Return the rule that a spec describes.

    Args:
        spec: ``window:40,400`` (centre, width), ``window:lung`` (or another of ``WINDOWS``),
            ``percentile:1,99``, ``zscore:3`` or ``full``.

    Raises:
        UsageProblem: If the spec has none of these forms.
    """
    kind, _, text = spec.partition(":")
    numbers = WINDOWS.get(text) if kind == "window" else None
    match kind, numbers or _numbers(text):
        case "window", (centre, width) if width > 0:
            return lambda values, padding: window(centre, width)
        case "percentile", (low, high) if 0 <= low < high <= 100:
            return partial(percentile, low=low, high=high)
        case "zscore", (spread,) if spread > 0:
            return partial(zscore, spread=spread)
        case "full", ():
            return full_range
    wrong = f"{kind} {_ARGUMENTS[kind]}" if kind in _ARGUMENTS else f"unknown kind {kind!r}"
    raise UsageProblem(
        f"intensity {spec!r}: {wrong}; "
        "choose from window:40,400, window:lung, percentile:1,99, zscore:3 and full"
    )


def _numbers(text: str) -> tuple[float, ...] | None:
    try:
        numbers = tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def intensity_for(native: Slice, pixels: Pixels, spec: str | None = None) -> IntensityMap:
    """Choose the map for a slice; the model sees the slice in the polarity in which it is shown.

    Args:
        native: Slice whose modality decides by default. CT gets the soft-tissue window, or its
            full range if its values cannot be HU; X-ray (CR, DX) its full range; all others
            percentiles.
        pixels: Pixels of the slice.
        spec: Spec to use instead of the default, as in ``intensity_rule``.
    """
    if spec is None:
        spec = _default_spec(native, pixels)
    chosen = intensity_rule(spec)(pixels.values, pixels.padding)
    return replace(chosen, low=chosen.high, high=chosen.low) if native.inverted else chosen


def _default_spec(native: Slice, pixels: Pixels) -> str:
    """Return the spec for a slice for which the user has given none."""
    usual = _SPEC_OF_MODALITY.get(native.modality or "", _SPEC_OF_OTHERS)
    if native.modality != "CT" or (found := _not_hounsfield(native, pixels)) is None:
        return usual
    what, spec = found
    notice(
        f"CT slices {what} cannot be in HU: their intensity map is {spec}, their full range, "
        "instead of the soft-tissue window"
    )
    return spec


def _not_hounsfield(native: Slice, pixels: Pixels) -> tuple[str, str] | None:
    """Return a description of the values and the spec of their full range, or None if they are HU.

    Air has -1000 HU, which neither 8-bit nor unsigned numbers can hold. Where possible, the number
    type decides rather than the values that happen to occur on one slice, because all slices of a
    series must be mapped alike. Volumes of unsigned 16-bit numbers are accepted as HU, because a
    head without its skull has no value below 0 HU.
    """
    kind, size = pixels.stored.dtype.kind, pixels.stored.dtype.itemsize
    if kind in "iu" and np.array_equal(pixels.stored, pixels.values):
        if size == 1:
            return "with 8-bit values", f"window:{127.5 if kind == 'u' else -0.5},255"
        if kind == "u" and native.source.format == "picture":
            return "from pictures with unsigned values", "full"
    inside = _inside(pixels.values, pixels.padding)
    if 0 <= inside.min() < inside.max() <= 1:
        return "with values from 0 to 1", "window:0.5,1"
    return None


def standard_flips(geometry: Geometry) -> tuple[bool, bool]:
    """Return whether rows and columns must be reversed to show a slice in standard orientation.

    In this orientation the patient's left or back is on the right, and the back or the feet are at
    the bottom: axial slices as in DICOM, coronal ones from the front, sagittal ones from the left.

    Returns:
        ``(flip_rows, flip_columns)``, both false if the geometry is unknown.
    """
    return _runs_backwards(geometry.along_column), _runs_backwards(geometry.along_row)


def _height_of_a_pixel(spacing: tuple[float, float] | None) -> float:
    """Return the ratio of height to width; 1 if the spacing is unknown or implausible."""
    rows, columns = spacing or (1.0, 1.0)
    ratio = rows / columns if columns else 0.0
    return ratio if 1 / _LARGEST_RATIO <= ratio <= _LARGEST_RATIO else 1.0


def _runs_backwards(direction: tuple[float, float, float] | None) -> bool:
    if direction is None:
        return False
    # Towards the left, the back and the feet; the last is opposite to z.
    forwards = np.array(direction) * (1, 1, -1)
    return bool(forwards[np.abs(forwards).argmax()] < 0)


@dataclass(frozen=True)
class Canvas:
    """The placement of a native slice on a square: flipped, resized in proportion, and centred.

    Pixel edges are scaled exactly as the image is resampled: x becomes x * scale + offset, where
    the extent is a whole number of canvas pixels and the scale is extent / native along each axis.

    Attributes:
        native: Rows and columns of the slice.
        extent: Rows and columns that the slice occupies on the canvas.
        size: Number of rows and of columns of the canvas.
        flip_rows, flip_columns: Whether rows and columns are reversed on the canvas.
    """

    native: tuple[int, int]
    extent: tuple[int, int]
    size: int
    flip_rows: bool = False
    flip_columns: bool = False

    @classmethod
    def fit(cls, shape: tuple[int, int], geometry: Geometry, size: int = SIZE) -> Canvas:
        """Fit a slice of this shape as large as possible, in its physical proportions."""
        height, width = shape[0] * _height_of_a_pixel(geometry.spacing), shape[1]
        scale = size / max(height, width)
        extent = (max(1, round(height * scale)), max(1, round(width * scale)))
        return cls(shape, extent, size, *standard_flips(geometry))

    @property
    def _place(self) -> tuple[slice, slice]:
        top, left = ((self.size - extent) // 2 for extent in self.extent)
        return slice(top, top + self.extent[0]), slice(left, left + self.extent[1])

    def image(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Place ``values``, ``[rows, columns]``, on ``[size, size]``, surrounded by 0."""
        _check_shape(values, self.native)
        canvas = np.zeros((self.size, self.size), dtype=np.float32)
        canvas[self._place] = _resize(self.flip(values), self.extent)
        return canvas

    def back(self, canvas: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map a canvas, ``[size, size]``, back to the native ``[rows, columns]``."""
        _check_shape(canvas, (self.size, self.size))
        return self.flip(_resize(canvas[self._place], self.native))

    def mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Place a mask, ``[rows, columns]``, on ``[size, size]``.

        A pixel is set if the mask covers at least half of it. A mask too small for that keeps the
        pixels that it covers most, so that it does not vanish.
        """
        _check_shape(mask, self.native)
        flipped = Image.fromarray(self.flip(mask).astype(np.float32))
        covered = np.asarray(flipped.resize(self.extent[::-1], Image.Resampling.BOX))
        canvas = np.zeros((self.size, self.size), dtype=np.bool_)
        canvas[self._place] = (covered > 0) & (covered >= min(0.5, covered.max()))
        return canvas

    def boxes(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map native boxes, ``[N, 4]``, onto the canvas."""
        return self.flip_boxes(boxes) * self._scales + self._offsets

    def boxes_back(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map boxes on the canvas, ``[N, 4]``, back to native boxes."""
        return self.flip_boxes((boxes - self._offsets) / self._scales)

    @property
    def _scales(self) -> NDArray[np.float64]:
        row, column = (e / n for e, n in zip(self.extent, self.native, strict=True))
        return np.array([column, row, column, row])

    @property
    def _offsets(self) -> NDArray[np.float64]:
        rows, columns = self._place
        return np.array([columns.start, rows.start, columns.start, rows.start], dtype=np.float64)

    def flip(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Reverse rows and columns of ``[rows, columns]`` as on the canvas, or back."""
        return np.ascontiguousarray(
            pixels[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]
        )

    def flip_boxes(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Reverse native boxes, ``[N, 4]``, as on the canvas, or back."""
        flipped = np.array(boxes, dtype=np.float64)
        rows, columns = self.native
        if self.flip_columns:
            flipped[:, [0, 2]] = columns - flipped[:, [2, 0]]
        if self.flip_rows:
            flipped[:, [1, 3]] = rows - flipped[:, [3, 1]]
        return flipped


def _resize(values: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Resample ``[rows, columns]`` to ``shape`` with antialiasing, clipped to the input range."""
    picture = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    resized = np.asarray(picture.resize(shape[::-1], Image.Resampling.BICUBIC))
    return resized.clip(values.min(), values.max())


def _check_shape(pixels: NDArray[Any], shape: tuple[int, int]) -> None:
    # Pillow would resize an array of any shape, and the boxes would no longer fit.
    if pixels.shape != shape:
        raise ValueError(f"pixels must be {shape} for this canvas but are {pixels.shape}")


def model_image(
    native: Slice, pixels: Pixels, size: int = SIZE, spec: str | None = None
) -> tuple[NDArray[np.float32], Canvas, IntensityMap]:
    """Return a slice as the model sees it.

    Args:
        native: Slice to convert.
        pixels: Pixels of the slice.
        size: Number of rows and of columns of the canvas.
        spec: Spec of the intensity map, as in ``intensity_rule``; None for the default.

    Returns:
        The image, ``[size, size]`` in [0, 1], and the canvas and the map to invert the conversion.
    """
    intensity = intensity_for(native, pixels, spec)
    canvas = Canvas.fit(native.shape, native.geometry, size)
    return canvas.image(intensity.to_model(pixels.values, pixels.padding)), canvas, intensity
