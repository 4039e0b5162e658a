"""The interface of all renders: a native slice with its labels, before and after."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medvae.intensity import Canvas, IntensityMap, intensity_for
from medvae.records import Labels, Pixels, Slice


def is_absolute(native: Slice) -> bool:
    """Return whether the units of a slice are absolute."""
    return native.modality == "CT"


@dataclass(frozen=True, eq=False)
class Scene:
    """A decoded slice on the canvas of a model.

    Attributes:
        slice: The slice, with its labels.
        pixels: Pixels of the slice.
        canvas: Placement of the slice on the canvas.
        intensity: Map from the values of the slice to those of the model.
    """

    slice: Slice
    pixels: Pixels
    canvas: Canvas
    intensity: IntensityMap

    @classmethod
    def of(cls, native: Slice, pixels: Pixels, size: int, spec: str | None) -> Scene:
        """Place a slice on the canvas of a model.

        Args:
            native: Slice to place.
            pixels: Pixels of the slice.
            size: Size of the canvas.
            spec: Intensity map of the model; None for that of the modality.
        """
        canvas = Canvas.fit(native.shape, native.geometry, size)
        return cls(native, pixels, canvas, intensity_for(native, pixels, spec))

    @property
    def values(self) -> NDArray[np.float32]:
        """The values ``[rows, columns]`` in real units, such as HU."""
        return self.pixels.values

    @property
    def padding(self) -> NDArray[np.bool_] | None:
        """Where the file says that there is no image; None if it does not say."""
        return self.pixels.padding

    @property
    def labels(self) -> Labels:
        """The findings on the slice; none if it is not labelled."""
        return self.slice.labels or Labels()

    @property
    def spacing(self) -> tuple[float, float] | None:
        """Millimetres between rows and between columns; None if unknown."""
        return self.slice.geometry.spacing

    @property
    def absolute(self) -> bool:
        """Whether the units are absolute, so that levels are matched by adding, not by scaling."""
        return is_absolute(self.slice)

    def picture(self, values: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return the slice, or other values of it, as the model sees them, ``[size, size]``."""
        values = self.values if values is None else values
        return self.canvas.image(self.intensity.to_model(values, self.padding))

    def changed(self, rendered: Rendered) -> Scene:
        """Return the slice with rendered values and labels."""
        return replace(
            self,
            slice=replace(self.slice, labels=rendered.labels),
            pixels=replace(self.pixels, values=rendered.values),
        )


@dataclass(frozen=True, eq=False)
class Rendered:
    """A rendered slice.

    Attributes:
        values: New values ``[rows, columns]`` in real units.
        labels: Findings as they lie on the new values.
        numbers: Numbers that describe the change, for the manifest and the gates.
        decoded: Returns the decoded image of the source after the same change,
            ``[1, size, size]``, for the next render of a chain; None where that is the decoded
            image of the new latent.
    """

    values: NDArray[np.float32]
    labels: Labels
    numbers: Mapping[str, float] = field(default_factory=dict)
    decoded: Callable[[], Tensor] | None = None


class Render(ABC):
    """A method that makes new slices from native ones, guided by the decoded images of two latents.

    Where both latents decode to the same image, the result is exactly the source; only `decode`,
    which shows that image instead of the slice, differs. The result for a slice does not depend on
    the slices that are rendered together with it.

    Attributes:
        name: Name that users give.
        preserves_locations: Whether structures stay where they are.
    """

    name: str
    preserves_locations: bool

    @abstractmethod
    def render(self, scenes: Sequence[Scene], before: Tensor, after: Tensor) -> list[Rendered]:
        """Render slices.

        Args:
            scenes: Slices to render, N in number.
            before: Decoded images of their own latents, ``[N, 1, size, size]``.
            after: Decoded images of the new latents, of the same shape.
        """
