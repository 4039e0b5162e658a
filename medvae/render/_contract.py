"""What every render takes and gives: one native slice with its labels, before and after."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medvae.intensity import Canvas, IntensityMap, intensity_for
from medvae.records import Labels, Pixels, Slice

__all__ = ["Render", "Rendered", "Scene", "is_absolute"]


def is_absolute(native: Slice) -> bool:
    """Say whether the units of a slice are absolute."""
    return native.modality == "CT"


@dataclass(frozen=True, eq=False)
class Scene:
    """A native slice as a render sees it.

    Attributes:
        values: ``[rows, columns]`` in real units, such as HU.
        padding: true where the file says that there is no image; None where it says nothing.
        labels: what is on it.
        spacing: millimetres between rows and between columns; None where unknown.
        canvas: where the slice lies on the model's canvas.
        intensity: how its values become the model's.
        absolute: its units are absolute, as in CT: levels are matched by adding, not by scaling.
    """

    values: NDArray[np.float32]
    padding: NDArray[np.bool_] | None
    labels: Labels
    spacing: tuple[float, float] | None
    canvas: Canvas
    intensity: IntensityMap
    absolute: bool = False

    @classmethod
    def of(cls, native: Slice, pixels: Pixels, size: int, spec: str | None) -> Scene:
        """Show a slice as the model's canvas has it.

        Args:
            native: the slice.
            pixels: of it.
            size: of the canvas.
            spec: the model's intensity map; None for that of the modality.
        """
        return cls(
            values=pixels.values,
            padding=pixels.padding,
            labels=native.labels or Labels(),
            spacing=native.geometry.spacing,
            canvas=Canvas.fit(native.shape, native.geometry, size),
            intensity=intensity_for(native, pixels, spec),
            absolute=is_absolute(native),
        )

    def picture(self, values: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Show the slice, or other values of it, as the model sees them, ``[size, size]``."""
        values = self.values if values is None else values
        return self.canvas.image(self.intensity.to_model(values, self.padding))


@dataclass(frozen=True, eq=False)
class Rendered:
    """What a render made of a slice.

    Attributes:
        values: ``[rows, columns]`` in real units.
        labels: as they lie on the new values.
        numbers: what was done, for the manifest and the gates.
        decoded: makes what became of the decoded picture of the source by the same change,
            ``[1, size, size]``, for a render that goes on from here; None where that is the
            picture of the new latent.
    """

    values: NDArray[np.float32]
    labels: Labels
    numbers: Mapping[str, float] = field(default_factory=dict)
    decoded: Callable[[], Tensor] | None = None


class Render(ABC):
    """Makes new slices of native ones, led by what the model makes of two latents.

    Where both latents decode to the same picture, the result is exactly the source; only `decode`,
    which shows that picture instead of the slice, differs. What becomes of a slice does not depend
    on those that are rendered together with it.

    Attributes:
        name: as users give it.
        preserves_locations: whether what lies at a place stays there.
    """

    name: str
    preserves_locations: bool

    @abstractmethod
    def render(self, scenes: Sequence[Scene], before: Tensor, after: Tensor) -> list[Rendered]:
        """Render slices.

        Args:
            scenes: N slices.
            before: what the model makes of their own latents, ``[N, 1, size, size]``.
            after: what it makes of the new ones, of the same shape.
        """
