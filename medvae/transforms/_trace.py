"""What a transform did, in the list that MONAI keeps with each tensor."""

from __future__ import annotations

from typing import Any, TypeVar

from monai.data.meta_obj import get_track_meta
from monai.data.meta_tensor import MetaTensor
from monai.transforms.inverse import InvertibleTransform
from monai.utils.enums import TraceKeys

from medvae.errors import UsageProblem

__all__ = ["Traced"]

T = TypeVar("T")


class Traced(InvertibleTransform):
    """A transform whose draws are traced, and which cannot always be undone.

    It stands among MONAI's invertible transforms so that others before and after it can be undone
    where it did nothing; where it moved what is in the picture, it says that it cannot.
    """

    def _trace(self, data: Any, moved: bool, **drawn: int | float | str) -> Any:
        """Note what was drawn.

        Args:
            data: a tensor, whose metadata the result does not share; all else stays as it is.
            moved: what is at a place is not what was there.
            drawn: plain numbers and names.
        """
        if not (get_track_meta() and isinstance(data, MetaTensor)):
            return data
        # Noted on the tensor itself, it would be seen by whoever holds the item: lists in memory
        # would grow with each epoch.
        own = data.clone()
        return InvertibleTransform.push_transform(self, own, extra_info={"moved": moved, **drawn})

    def _undo(self, data: T) -> T:
        """Take the last note back.

        Raises:
            UsageProblem: what it says was done cannot be undone.
        """
        if isinstance(data, MetaTensor):
            done = self.pop_transform(data)
            if done[TraceKeys.EXTRA_INFO]["moved"]:
                name = type(self).__name__
                raise UsageProblem(f"{name} cannot be undone: leave it out of what is inverted")
        return data
