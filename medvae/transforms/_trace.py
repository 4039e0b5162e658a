"""The trace of a transform in the list of operations that MONAI keeps with each tensor."""

from __future__ import annotations

from typing import Any, TypeVar

from monai.data.meta_obj import get_track_meta
from monai.data.meta_tensor import MetaTensor
from monai.transforms.inverse import InvertibleTransform
from monai.utils.enums import TraceKeys

from medvae.errors import UsageProblem

T = TypeVar("T")


class Traced(InvertibleTransform):
    """A transform whose draws are traced, but which cannot always be undone.

    It is an invertible transform of MONAI's, so that transforms before and after it can be undone
    if it did nothing; if it moved the contents of the image, inverting it raises an error.
    """

    def _trace(self, data: Any, moved: bool, **drawn: int | float | str) -> Any:
        """Record what was drawn.

        Args:
            data: Tensor, whose metadata the result does not share; other types are returned as is.
            moved: Whether what lies at a position is no longer what was there.
            drawn: Plain numbers and names to record.
        """
        if not (get_track_meta() and isinstance(data, MetaTensor)):
            return data
        # If it were recorded on the tensor itself, every holder of the item would see it, and lists
        # in memory would grow with each epoch.
        own = data.clone()
        return InvertibleTransform.push_transform(self, own, extra_info={"moved": moved, **drawn})

    def _undo(self, data: T) -> T:
        """Remove the last record.

        Raises:
            UsageProblem: The recorded operation cannot be undone.
        """
        if isinstance(data, MetaTensor):
            done = self.pop_transform(data)
            if done[TraceKeys.EXTRA_INFO]["moved"]:
                name = type(self).__name__
                raise UsageProblem(f"{name} cannot be undone: leave it out of what is inverted")
        return data
