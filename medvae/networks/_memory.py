"""Memory needed for a training step, counted without allocating it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from medvae.networks._store import NothingDrawn
from medvae.networks._vae import SliceVAE

_COPIES = 4
"""Number of tensors per parameter: its value, its gradient and the two moments of Adam."""

# Measured in single precision on a CPU as the growth of ru_maxrss over two steps (MiB), followed by
# the estimate: the default network at 224x224 with 4 slices 1016 and 1001, with 8 slices 1599 and
# 1630; the variant "spatial" at 128x128 with 8 slices 546 and 584; the variant "residual" at 64x64
# with 8 slices 216 and 232. In bfloat16 it is less.
_BEYOND_SAVED = 1.1
"""Ratio of the memory per slice to that of the tensors that autograd saves for it."""

_WORKSPACE = 2**26
"""Bytes that convolutions use as workspace."""


class StepMemory(NamedTuple):
    """Memory needed for a training step.

    Attributes:
        fixed: Bytes independent of the batch size.
        per_slice: Bytes for each slice of the batch.
    """

    fixed: int
    per_slice: int

    def of_batch(self, size: int) -> int:
        """Return the bytes needed for a batch of `size` slices."""
        return self.fixed + self.per_slice * size


def step_memory(make: Callable[[], SliceVAE]) -> StepMemory:
    """Count the memory for a training step in single precision, including the optimizer.

    Args:
        make: Function that returns the network; called on a device that allocates no memory.
    """
    with torch.device("meta"), NothingDrawn():
        model = make().train()
        one, two = (_saved(model, size) for size in (2, 4))
    weights = sum(weight.nbytes for weight in model.parameters())
    return StepMemory(_COPIES * weights + _WORKSPACE, round(_BEYOND_SAVED * (two - one) / 2))


def _saved(model: SliceVAE, batch: int) -> int:
    """Return the bytes that autograd saves in a forward pass, counting each storage once."""
    found: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        found[storage._cdata] = storage.nbytes()
        return tensor

    side = model.image_size
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        kept = model.reconstruct(torch.zeros(batch, 1, side, side))  # keeps the storages alive
    del kept
    return sum(found.values())
