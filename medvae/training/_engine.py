"""How a network is called in training: with all that the loss needs, and in half precision."""

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
    """A network that, called, returns the posterior beside the picture.

    It shares the weights of the network. A data-parallel wrapper needs that the step runs through
    ``forward``, and the network's own returns one tensor.
    """

    def __init__(self, network: SliceVAE) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Reconstruction:
        return self.network.reconstruct(x)


class AutocastInferer(Inferer):
    """Calls the network in bfloat16, which needs no loss scaling, on any kind of device.

    A picture that it returns keeps the metadata of the one that it is given.

    Args:
        enabled: call it in single precision otherwise.
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
