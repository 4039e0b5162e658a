"""The small network of the published method that tells synthetic slices from real ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from medvae.audit._patients import Part
from medvae.randomness import generator

__all__ = ["PublishedNetwork", "as_input", "resized", "score", "train"]

BATCH = 16
_RATE = 1e-4
_RESIZED_AT_ONCE = 256

Pictures = NDArray[np.float32] | NDArray[np.uint8]


class PublishedNetwork(nn.Module):
    """Two 3x3 convolutions with pooling, dropout and two linear layers; one logit per picture.

    Args:
        size: Side of the pictures, a multiple of 4.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 8, 3, padding=1)
        self.dropout = nn.Dropout(0.2)
        self.hidden = nn.Linear(8 * (size // 4) ** 2, 64)
        self.out = nn.Linear(64, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``[N]`` of being synthetic for pictures ``[N, 1, size, size]``."""
        # ReLU after pooling gives the same result for a quarter of the work.
        x = functional.relu(functional.max_pool2d(self.first(x), 2))
        x = functional.relu(functional.max_pool2d(self.second(x), 2))
        x = functional.relu(self.hidden(self.dropout(x).flatten(1)))
        logits: Tensor = self.out(x)
        return logits[:, 0]

    def maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the feature maps after each convolution and its ReLU."""
        first = functional.relu(self.first(x))
        return first, functional.relu(self.second(functional.max_pool2d(first, 2)))


def resized(pictures: Pictures, size: int) -> Pictures:
    """Return pictures ``[N, S, S]`` resized, as uint8; unchanged if they have that size already."""
    if pictures.shape[1] == size:
        return pictures
    result = np.empty((len(pictures), size, size), np.uint8)
    for start in range(0, len(pictures), _RESIZED_AT_ONCE):
        x = as_input(pictures[start : start + _RESIZED_AT_ONCE])
        smaller = functional.interpolate(x, (size, size), mode="bilinear", antialias=True)
        result[start : start + len(x)] = (smaller[:, 0] * 255).round().numpy()
    return result


def as_input(pictures: Pictures) -> Tensor:
    """Return pictures ``[B, S, S]`` as input of the network, ``[B, 1, S, S]`` in [0, 1]."""
    x = torch.from_numpy(np.ascontiguousarray(pictures, np.float32))
    x = x / 255 if pictures.dtype == np.uint8 else x
    # Set channels-last strides, which a single channel does not have by default: they make the
    # network three times as fast.
    return x[..., None].permute(0, 3, 1, 2)


def train(
    real: Part,
    synthetic: Part,
    seed: int,
    *key: str | int,
    epochs: int,
    device: torch.device,
    step: Callable[[int], None],
) -> PublishedNetwork:
    """Train the network: Adam at 1e-4, binary cross-entropy, batches of 16.

    Args:
        real, synthetic: Slices to tell apart.
        seed, key: Random seed and key for its weights, the order of slices, and dropout.
        epochs: Number of epochs.
        device: Device to train on.
        step: Called after each batch with the number of its slices.
    """
    random = generator(seed, "published", *key)
    sides = (real, synthetic)
    who = [(side, row) for side, part in enumerate(sides) for row in part.rows.tolist()]
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(int(random.integers(2**62)))
        network = PublishedNetwork(real.values.shape[1]).to(device)
        adam = torch.optim.Adam(network.parameters(), _RATE, fused=True)
        for _ in range(epochs):
            order = random.permutation(len(who))
            for start in range(0, len(order), BATCH):
                batch = [who[place] for place in order[start : start + BATCH]]
                x = as_input(np.stack([sides[side].values[row] for side, row in batch]))
                truth = torch.tensor([float(side) for side, _ in batch], device=device)
                logits = network(x.to(device))
                adam.zero_grad()
                functional.binary_cross_entropy_with_logits(logits, truth).backward()
                adam.step()
                step(len(batch))
    return network.eval()


@torch.inference_mode()
def score(network: PublishedNetwork, part: Part, device: torch.device) -> NDArray[np.float64]:
    """Return the logits of slices, ``[N]``; a higher logit means more synthetic."""
    found = []
    for start in range(0, len(part.rows), BATCH):
        x = as_input(part.values[part.rows[start : start + BATCH]])
        found.append(network(x.to(device)).double().cpu().numpy())
    return np.concatenate(found)
