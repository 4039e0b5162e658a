"""How much memory a step of training takes, counted without taking it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from medvae.networks._store import NothingDrawn
from medvae.networks._vae import SliceVAE

_COPIES = 4
"""Of each parameter: its value, its gradient and the two moments of Adam."""

# Measured in single precision on a processor, as the growth of ru_maxrss over two steps (MiB),
# beside what the rule gives: the default network at 224x224 with 4 slices 1016 and 1001, with 8
# slices 1599 and 1630; the variant spatial at 128x128 with 8 slices 546 and 584; residual at
# 64x64 with 8 slices 216 and 232. In bfloat16 it is less.
_BEYOND_SAVED = 1.1
"""What a slice takes, beside the tensors that autograd saves of it."""

_WORKSPACE = 2**26
"""What convolutions take for themselves."""


class StepMemory(NamedTuple):
    """Bytes that a step of training takes.

    Attributes:
        fixed: For any batch.
        per_slice: For each slice of the batch.
    """

    fixed: int
    per_slice: int

    def of_batch(self, size: int) -> int:
        """Return the bytes for a batch of this many slices."""
        return self.fixed + self.per_slice * size


def step_memory(make: Callable[[], SliceVAE]) -> StepMemory:
    """Count what a step of training a network takes in single precision, optimizer included.

    Args:
        make: Returns the network; it is called where no memory is allocated.
    """
    with torch.device("meta"), NothingDrawn():
        model = make().train()
        one, two = (_saved(model, size) for size in (2, 4))
    weights = sum(weight.nbytes for weight in model.parameters())
    return StepMemory(_COPIES * weights + _WORKSPACE, round(_BEYOND_SAVED * (two - one) / 2))


def _saved(model: SliceVAE, batch: int) -> int:
    """Return the bytes of what autograd keeps of a forward pass, each storage counted once."""
    found: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        found[storage._cdata] = storage.nbytes()
        return tensor

    side = model.image_size
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        kept = model.reconstruct(torch.zeros(batch, 1, side, side))  # alive, so are its storages
    del kept
    return sum(found.values())
