"""The trace of a transform in the list of operations that MONAI keeps with each tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
from monai.data.meta_obj import get_track_meta
from monai.data.meta_tensor import MetaTensor
from monai.transforms.inverse import InvertibleTransform
from monai.transforms.transform import RandomizableTransform
from monai.utils.enums import TraceKeys, TransformBackends

from medvae.errors import UsageProblem

_SEEDS = 2**32


class Traced(RandomizableTransform, InvertibleTransform):
    """A transform with a seed for each item, whose draws are traced but cannot always be undone.

    It is an invertible transform of MONAI's, so that transforms before and after it can be undone
    if it did nothing; if it moved the contents of the image, inverting it raises an error.

    Attributes:
        strength: Strength of the change, which is traced.
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012

    strength: float
    _seed = 0

    def randomize(self, data: Any = None) -> None:
        """Draw whether to change an item, and the seed of its random numbers."""
        super().randomize(None)
        if self._do_transform:
            self._seed = int(self.R.randint(_SEEDS, dtype=np.uint64))

    def _trace(self, data: Any, moved: bool, **drawn: str) -> Any:
        """Return a tensor with a record of what was drawn; other types are returned as is.

        Args:
            data: Tensor, whose metadata the result does not share.
            moved: Whether what lies at a position is no longer what was there.
            drawn: Names to record beside seed and strength.
        """
        if not (get_track_meta() and isinstance(data, MetaTensor)):
            return data
        # If it were recorded on the tensor itself, every holder of the item would see it, and lists
        # in memory would grow with each epoch.
        own = data.clone()
        record = {"moved": moved, "seed": self._seed, "strength": self.strength, **drawn}
        return InvertibleTransform.push_transform(self, own, extra_info=record)

    def inverse(self, data: Any) -> Any:
        """Remove the trace of this transform from a tensor; as in MONAI, changed intensities stay.

        Raises:
            UsageProblem: The contents of the image were moved.
        """
        if isinstance(data, MetaTensor):
            done = self.pop_transform(data)
            if done[TraceKeys.EXTRA_INFO]["moved"]:
                name = type(self).__name__
                raise UsageProblem(f"{name} cannot be undone: leave it out of what is inverted")
        return data
