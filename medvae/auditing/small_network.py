"""Whether the small network of the published method can tell synthetic slices from real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from medvae.auditing._decoded import Pool
from medvae.auditing._page import formatted, is_measured
from medvae.auditing._separation import Key, Score, cross_validated, planned_halves
from medvae.auditing._statistic import AuditSettings, ComparedSets, Estimate
from medvae.networks import device_named
from medvae.progress import Progress, ignore_progress
from medvae.randomness import generator

__all__ = ["PublishedNetwork", "as_input", "measure", "score", "sentences", "tell_apart", "train"]

_BATCH = 16
_RATE = 1e-4

_WIDE = 0.3
"""Width from which an interval says little."""

Pictures = NDArray[Any]
"""Pictures, float32 in [0, 1] or uint8."""


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


def as_input(pictures: Pictures) -> Tensor:
    """Return pictures ``[B, S, S]`` as input of the network, ``[B, 1, S, S]`` in [0, 1]."""
    x = torch.from_numpy(np.ascontiguousarray(pictures, np.float32))
    x = x / 255 if pictures.dtype == np.uint8 else x
    # Set channels-last strides, which a single channel does not have by default: they make the
    # network three times as fast.
    return x[..., None].permute(0, 3, 1, 2)


def train(
    real: Sequence[Pictures],
    synthetic: Sequence[Pictures],
    seed: int,
    *key: str | int,
    epochs: int,
    device: torch.device,
    step: Callable[[int], None],
) -> PublishedNetwork:
    """Train the network: Adam at 1e-4, binary cross-entropy, batches of 16.

    Args:
        real, synthetic: Pictures to tell apart, ``[S, S]`` each.
        seed, key: Random seed and key for its weights, the order of pictures, and dropout.
        epochs: Number of epochs.
        device: Device to train on.
        step: Called after each batch with the number of its pictures.
    """
    random = generator(seed, "published", *key)
    pictures = [*real, *synthetic]
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(int(random.integers(2**62)))
        network = PublishedNetwork(real[0].shape[0]).to(device)
        adam = torch.optim.Adam(network.parameters(), _RATE, fused=True)
        for _ in range(epochs):
            order = random.permutation(len(pictures))
            for start in range(0, len(order), _BATCH):
                rows = order[start : start + _BATCH]
                x = as_input(np.stack([pictures[row] for row in rows]))
                truth = torch.tensor((rows >= len(real)).astype(np.float32), device=device)
                logits = network(x.to(device))
                adam.zero_grad()
                functional.binary_cross_entropy_with_logits(logits, truth).backward()
                adam.step()
                step(len(rows))
    return network.eval()


@torch.inference_mode()
def score(
    network: PublishedNetwork, pictures: Sequence[Pictures], device: torch.device
) -> NDArray[np.float64]:
    """Return the logits of pictures, ``[N]``; a higher logit means more synthetic."""
    found = []
    for start in range(0, len(pictures), _BATCH):
        x = as_input(np.stack(pictures[start : start + _BATCH]))
        found.append(network(x.to(device)).double().cpu().numpy())
    return np.concatenate(found)


def tell_apart(
    real: Pool,
    synthetic: Pool,
    seed: int,
    *,
    epochs: int = 10,
    splits: int = 3,
    device: torch.device | str = "cpu",
    progress: Progress = ignore_progress,
) -> Estimate:
    """Train the published network on half of the patients and score the others, both ways.

    Args:
        real, synthetic: The sets to tell apart.
        seed: Random seed for splits, weights and the order of slices.
        epochs: Number of epochs.
        splits: Number of splits of the real patients in two, told apart in the same way for the
            baseline; 0 for no baseline.
        device: Device to train on.
        progress: Called with (stage, done, total, note), counting slices over all epochs.

    Returns:
        The area under the ROC curve.

    Raises:
        UsageProblem: If one of the sets cannot be split by patient.
    """
    device, size = device_named(device), real.pictures.shape[-1]
    plan = planned_halves(real, synthetic, seed, splits)
    count = epochs * sum(len(rows) for one in plan for rows in (*one.real, *one.synthetic))
    done = 0

    def step(slices: int) -> None:
        nonlocal done
        done += slices
        progress("Training classifiers", done, count, "")

    def fit(known: Sequence[Pictures], made: Sequence[Pictures], key: Key) -> Score:
        network = train(known, made, seed, size, *key, epochs=epochs, device=device, step=step)
        return lambda pictures: score(network, pictures, device)

    return cross_validated(fit, plan, real, real.pictures, synthetic, synthetic.pictures, seed)


def measure(sets: ComparedSets, settings: AuditSettings) -> Estimate:
    """Train the network on the real and another set."""
    return sets.compare(
        lambda other: tell_apart(
            sets.real.pool,
            other.pool,
            settings.seed,
            epochs=settings.epochs,
            splits=sets.splits,
            device=settings.device,
            progress=settings.progress,
        )
    )


def sentences(found: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield the area for the synthetic and the real slices."""
    if found is None or not is_measured(found):
        return
    text = f"A small network tells synthetic from real slices with an AUC of {formatted(found)}"
    if found["baseline"] is not None:
        baseline = formatted(found["baseline"])
        text += f"; it tells real slices from those of other patients with {baseline}"
    if found["low"] is not None and found["high"] - found["low"] > _WIDE:
        text += "; the interval is wide, because the patients are few"
    yield f"{text}."
