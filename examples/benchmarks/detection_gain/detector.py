"""Base class of all detectors, and functions to train and to apply them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from monai.networks.nets.basic_unet import Down, TwoConv
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from medvae.networks import fastest_dtype

from .classic import vary
from .slices import Examples

__all__ = [
    "ACT",
    "BATCH",
    "CHANNELS",
    "FEWEST_STEPS",
    "LEAST_SCORE",
    "MOST_FOUND",
    "MOST_OVERLAP",
    "MULTIPLE",
    "NORM",
    "Detector",
    "Encoder",
    "Found",
    "Part",
    "fit",
    "predict",
    "reduced_precision",
]

BATCH = 24

FEWEST_STEPS = 20
"""Minimum number of training steps; a tenth of the steps is the warm-up."""

MOST_FOUND, LEAST_SCORE, MOST_OVERLAP = 12, 1e-3, 0.3
"""Maximum number of findings per slice, their minimum score and their maximum overlap."""

CHANNELS = (16, 32, 64, 96, 128)
"""Channels of the features at full, half, quarter, ... resolution."""

MULTIPLE = 2 ** (len(CHANNELS) - 1)
"""Sides of a canvas are multiples of this, so that they can be halved at each level."""

NORM, ACT = "batch", ("relu", {"inplace": True})

_RATE, _DECAY, _WARM_UP = 2e-3, 1e-3, 0.1

Found = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Boxes ``[D, 4]`` and scores ``[D]`` on one slice."""


class Detector(nn.Module, ABC):
    """Detector of one category, findings. Boxes are in pixel edges, x before y."""

    @abstractmethod
    def loss(self, images: Tensor, boxes: Tensor) -> Tensor:
        """Return the training loss.

        Args:
            images: Slices ``[N, 1, size, size]``.
            boxes: Boxes ``[N, K, 4]``, padded with zeros.
        """

    @abstractmethod
    def find(self, images: Tensor) -> list[Found]:
        """Return the findings on slices ``[N, 1, size, size]``, without overlapping duplicates."""


class Encoder(nn.Module):
    """First half of MONAI's basic U-Net, which returns features of five sizes, largest first."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = TwoConv(2, 1, CHANNELS[0], ACT, NORM, bias=False)
        self.down = nn.ModuleList(
            Down(2, a, b, ACT, NORM, bias=False) for a, b in pairwise(CHANNELS)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        features = [self.stem(images)]
        for down in self.down:
            features.append(down(features[-1]))
        return features


@dataclass(frozen=True, eq=False)
class Part:
    """Examples, and the number of them in each batch."""

    examples: Examples
    count: int


def fit(
    network: Callable[[], Detector],
    parts: Sequence[Part],
    steps: int,
    seed: int,
    classic: float,
    device: torch.device,
) -> Detector:
    """Train a detector from scratch.

    Args:
        network: Function that returns a detector with initial weights.
        parts: Parts of each batch.
        steps: Number of training steps.
        seed: Random seed for the initial weights and all draws.
        classic: Strength of the classic augmentation.
        device: Device to train on.
    """
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    model = network().to(device).train()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(model.parameters(), _RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, _RATE, total_steps=steps, pct_start=_WARM_UP
    )
    for _ in tqdm(range(steps), "detector", leave=False, disable=None, unit="step"):
        images, boxes = _batch(parts, random, device)
        if classic:
            images, boxes = vary(images, boxes, random, classic)
        optimizer.zero_grad()
        images = images.contiguous(memory_format=torch.channels_last)
        model.loss(images, boxes.to(device)).backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def _batch(
    parts: Sequence[Part], random: torch.Generator, device: torch.device
) -> tuple[Tensor, Tensor]:
    images, boxes = [], []
    most = max(part.examples.boxes.shape[1] for part in parts)
    for part in parts:
        rows = torch.randint(len(part.examples), (part.count,), generator=random)
        images.append(part.examples.images[rows])
        own = part.examples.boxes[rows]
        boxes.append(functional.pad(own, (0, 0, 0, most - own.shape[1])))
    return torch.cat(images).to(device).float(), torch.cat(boxes)


def reduced_precision(device: torch.device) -> torch.autocast:
    """Return a context that computes in bfloat16 where that is fast."""
    fastest = fastest_dtype(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=fastest == torch.bfloat16)


@torch.inference_mode()
def predict(model: Detector, images: Tensor, device: torch.device) -> list[Found]:
    """Return the findings on slices ``[N, 1, size, size]``."""
    found: list[Found] = []
    for batch in images.split(64):
        found += model.find(batch.to(device).float().contiguous(memory_format=torch.channels_last))
    return found
