"""Whether the small network of the published method can tell synthetic slices from real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from medvae.auditing._decoded import Pool
from medvae.auditing._figures import curves
from medvae.auditing._page import Report, figures, formatted, is_measured
from medvae.auditing._separation import (
    Key,
    Score,
    ScoredHalf,
    Separation,
    cross_validated,
    planned_halves,
)
from medvae.auditing._statistic import (
    LOOKS_DIFFERENT,
    AuditSettings,
    ComparedSets,
    Rule,
    Statistic,
)
from medvae.networks import device_named
from medvae.pages import part, png
from medvae.progress import Progress, ignore_progress
from medvae.randomness import generator

__all__ = [
    "Activation",
    "PublishedNetwork",
    "SmallNetwork",
    "as_input",
    "resized",
    "score",
    "tell_apart",
    "train",
]

_BATCH = 16
_RATE = 1e-4
_RESIZED_AT_ONCE = 256

_SHOWN = 2
"""Number of slices of either set whose activations are shown."""

_TILE = 96
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


class Activation(NamedTuple):
    """The activation maps of a slice in the published network.

    Attributes:
        synthetic: Whether the slice is synthetic.
        row: Index of the slice in its set.
        picture: The slice as the network sees it, ``[size, size]``.
        first: Maps after the first convolution and its ReLU, ``[4, size, size]``.
        second: Maps after the second convolution, ``[8, size / 2, size / 2]``.
    """

    synthetic: bool
    row: int
    picture: NDArray[np.float32]
    first: NDArray[np.float32]
    second: NDArray[np.float32]


def tell_apart(
    real: Pool,
    synthetic: Pool,
    size: int,
    seed: int,
    *,
    epochs: int = 10,
    splits: int = 3,
    device: torch.device | str = "cpu",
    progress: Progress = ignore_progress,
) -> tuple[Separation, list[Activation]]:
    """Train the published network on half of the patients and score the others, both ways.

    Args:
        real, synthetic: The sets to tell apart.
        size: Side of the pictures, a multiple of 4.
        seed: Random seed for splits, weights and the order of slices.
        epochs: Number of epochs.
        splits: Number of splits of the real patients in two, told apart in the same way for the
            baseline; 0 for no baseline.
        device: Device to train on.
        progress: Called with (stage, done, total, note), counting slices over all epochs.

    Returns:
        How well the sets are told apart, and the activations of the slices of either set about
        which the network is most certain.

    Raises:
        UsageProblem: If one of the sets cannot be split by patient.
    """
    device = device_named(device)
    plan = planned_halves(real, synthetic, seed, splits)
    count = epochs * sum(len(rows) for one in plan for rows in (*one.real, *one.synthetic))
    done = 0
    networks: list[PublishedNetwork] = []

    def step(slices: int) -> None:
        nonlocal done
        done += slices
        progress("Training classifiers", done, count, f"{size} x {size}")

    def fit(known: Sequence[Pictures], made: Sequence[Pictures], key: Key) -> Score:
        key = (size, *key)
        network = train(known, made, seed, *key, epochs=epochs, device=device, step=step)
        networks.append(network)
        return lambda pictures: score(network, pictures, device)

    pictures, made = resized(real.pictures, size), resized(synthetic.pictures, size)
    found = cross_validated(fit, plan, real, pictures, synthetic, made, seed)
    return found, list(_activations(networks[0], pictures, made, found.first))


def _activations(
    network: PublishedNetwork, real: Pictures, synthetic: Pictures, fold: ScoredHalf
) -> Iterator[Activation]:
    device = next(network.parameters()).device
    sides = (
        (False, real, fold.real, fold.real_scores),
        (True, synthetic, fold.synthetic, -fold.synthetic_scores),
    )
    for is_synthetic, pictures, rows, doubts in sides:
        for row in rows[np.argsort(doubts, kind="stable")[:_SHOWN]].tolist():
            x = as_input(np.asarray(pictures[row : row + 1]))
            with torch.inference_mode():
                maps = network.maps(x.to(device))
            picture, first, second = (y[0].float().cpu().numpy() for y in (x, *maps))
            yield Activation(is_synthetic, row, picture[0], first, second)


Results = Mapping[int, tuple[Separation, list[Activation]]]
"""Results of `tell_apart` by the size of the pictures."""


@dataclass(frozen=True)
class _NetworkRule(Rule):
    """Rule that is decisive if the network is right almost every time.

    It is so from an area under the curve of 0.95. A few patients prove nothing, so the lower end of
    the interval must be 0.85 or more, and 0.20 above the area for real slices of other patients.
    """

    def decides(self, found: Mapping[str, Any]) -> bool:
        value, low, baseline = found["value"], found["low"], found["baseline"]
        if low is None or baseline is None:
            return False
        return bool(value >= 0.95 and low >= max(0.85, baseline + 0.20))


class SmallNetwork(Statistic[Results]):
    """How well the small network of the published method tells the sets apart, by picture size."""

    name = "auc"
    title = "Can a small network tell the sets apart?"
    explanation = (
        "An area under the curve (AUC) of 0.5 is guessing, 1 is always right. The network learns "
        "from half of the patients and is scored on the others. A detector may see the same "
        "differences, but the AUC does not say whether they matter to it."
    )
    numbers: ClassVar[Mapping[str, str]] = {
        "": "AUC of the small network",
        "sizes.*": "AUC on pictures of this size",
    }
    rules = (
        _NetworkRule(
            name="Small network",
            question="Can a small network tell synthetic slices from real ones? 0.5 is guessing, 1 "
            "is always right.",
            green=0.60,
            amber=0.80,
            slack=0.10,
            opening="Do not train with this set without looking at it: even a small network tells "
            "its slices from real ones almost every time.",
            advice=LOOKS_DIFFERENT,
        ),
    )

    def measure(self, sets: ComparedSets, settings: AuditSettings) -> Results:
        """Train the network at each size."""

        return sets.compare(
            lambda other: {
                size: tell_apart(
                    sets.real.pool,
                    other.pool,
                    size,
                    settings.seed,
                    epochs=settings.epochs,
                    splits=sets.splits,
                    device=settings.device,
                    progress=settings.progress,
                )
                for size in settings.sizes
            }
        )

    def as_json(self, result: Results) -> Any:
        """Return the area at the largest size, and that at each size."""
        areas = {size: found.auc for size, (found, _) in result.items()}
        return {**areas[max(areas)].as_json(), "sizes": areas}

    def sentences(self, found: Mapping[str, Any] | None) -> Iterator[str]:
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

    def section(
        self,
        result: Results,
        report: Report,
        sets: ComparedSets,
    ) -> Iterator[Markup]:
        """Yield the table, the ROC curves and the activation maps."""
        yield from super().section(result, report, sets)
        rates = {f"{size} x {size}": found.roc for size, (found, _) in result.items()}
        roc = curves(rates, "false positive rate", "sensitivity").uri
        yield figures([part("drawing", roc, "ROC curves of the small network", "")])
        yield part("heading", "Activation maps of the small network")
        yield figures(map(_activation_maps, result[max(result)][1]))


def _activation_maps(one: Activation) -> Markup:
    """Show the activation maps of a slice in both convolutions."""
    name = "Synthetic" if one.synthetic else "Real"
    slice_itself = _scaled_to(one.picture, 2 * _TILE)
    whole = np.concatenate((slice_itself, _tiled(one.first), _tiled(one.second)), axis=1)
    caption = (
        f"{name} slice, the {len(one.first)} maps of the first convolution and the "
        f"{len(one.second)} of the second"
    )
    return part("drawing", png(whole), f"{name} slice and its activation maps", caption)


def _tiled(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Arrange maps ``[N, side, side]`` in two rows, each scaled to a maximum of 1."""
    highest = maps.max((1, 2), keepdims=True).clip(min=0)
    scaled = np.divide(maps, highest, out=np.zeros_like(maps), where=highest > 0)
    tiles = [_scaled_to(each, _TILE) for each in scaled]
    half = len(tiles) // 2
    return np.concatenate([np.concatenate(row, axis=1) for row in (tiles[:half], tiles[half:])])


def _scaled_to(picture: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    image = Image.fromarray(np.ascontiguousarray(picture, dtype=np.float32))
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR)).clip(0, 1)
