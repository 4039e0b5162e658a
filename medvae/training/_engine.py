"""Calling a network in training: with all outputs that the loss needs, and in half precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import Tensor, nn

from medvae.networks import Reconstruction, SliceVAE

__all__ = ["AutocastInferer", "TrainingView"]


class TrainingView(nn.Module):
    """A view of a network whose ``forward`` returns the posterior along with the image.

    It shares the weights of the network. A data-parallel wrapper requires that the step runs
    through ``forward``, and the ``forward`` of the network itself returns one tensor.
    """

    def __init__(self, network: SliceVAE) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Reconstruction:
        return self.network.reconstruct(x)


class AutocastInferer(Inferer):
    """Inferer that calls the network in bfloat16, which needs no loss scaling, on any device.

    An image that it returns keeps the metadata of the input.

    Args:
        enabled: Whether to use bfloat16; otherwise the network is called in single precision.
    """

    def __init__(self, enabled: bool = True) -> None:
        super().__init__()
        self.enabled = enabled

    def __call__(
        self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        # Transforms track metadata; the layers run faster on plain tensors.
        plain = inputs.as_subclass(Tensor).contiguous(memory_format=torch.channels_last)
        with torch.autocast(plain.device.type, dtype=torch.bfloat16, enabled=self.enabled):
            result = network(plain, *args, **kwargs)
        if isinstance(inputs, MetaTensor) and isinstance(result, Tensor):
            return MetaTensor(result).copy_meta_from(inputs)
        return result
