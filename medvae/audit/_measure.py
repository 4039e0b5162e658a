"""All measurements of two sets, each number with its baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medvae.audit._canvases import Canvases
from medvae.audit._copies import Copies, find_copies, outlines, with_baseline_of
from medvae.audit._distances import Distances, distances, diversity
from medvae.audit._estimate import Estimate, Pool
from medvae.audit._extractors import Extractor, extract
from medvae.audit._feature_tests import FeatureTests, feature_tests
from medvae.audit._lesions import FindingBook, LabelReport, compare_labels
from medvae.audit._two_sample import Separation, feature_two_sample, two_sample

__all__ = ["Instruments", "Measured", "Side", "measure"]

Features = Mapping[str, NDArray[np.float32]]
"""Features ``[N, D]`` by the name of the extractor."""

_LATENT = "encoder"
_SPLITS = 3


@dataclass(frozen=True, eq=False)
class Side:
    """One of the sets, ready to be measured.

    Attributes:
        canvases: Slices of the set.
        pool: The same slices in the form that statistics use.
        book: Findings of the set.
    """

    canvases: Canvases
    pool: Pool
    book: FindingBook


@dataclass(frozen=True, eq=False)
class Instruments:
    """Settings and tools of the measurements.

    Attributes:
        sizes: Picture sizes at which the small network is trained.
        epochs: Number of epochs for which it is trained.
        extractors: Feature extractors.
        seed: Random seed for all draws.
        device: Device to compute on.
        progress: Called with (stage, done, total, note) as work proceeds.
    """

    sizes: tuple[int, ...]
    epochs: int
    extractors: tuple[Extractor, ...]
    seed: int
    device: torch.device
    progress: Callable[[str, int, int, str], None]

    def told(self, what: str) -> Callable[[int, int], None]:
        """Return a progress callback, called with (done, total), for one stage of the work."""
        return lambda done, total: self.progress(what, done, total, "")


@dataclass(frozen=True, eq=False)
class Measured:
    """The results of all measurements.

    Attributes:
        published: Results of the small network, by picture size.
        features: Results of the stronger classifier, by extractor.
        tests, distances: Results by extractor.
        diversity: Similarity of pairs of slices.
        copies: Copies of real slices.
        labels: Results for the labels; None if no slice has a finding.
    """

    published: Mapping[int, Separation]
    features: Mapping[str, Separation]
    tests: Mapping[str, FeatureTests]
    distances: Mapping[str, Distances]
    diversity: Estimate
    copies: Copies
    labels: LabelReport | None


def measure(real: Side, synthetic: Side, held_out: Side | None, tools: Instruments) -> Measured:
    """Measure a set against the real slices.

    Held-out slices of other patients are measured in the same way, and give the baselines in
    place of random splits of the real slices, except for the distances, which depend on the
    number of slices.
    """
    known = _features(real, tools)
    found = _measured(real, known, synthetic, tools, _SPLITS if held_out is None else 0)
    if held_out is None:
        return found
    others = _measured(real, known, held_out, tools, 0, far=False)
    beside: Measured = _beside(found, others)
    groups = synthetic.pool.groups, held_out.pool.groups
    copies = with_baseline_of(beside.copies, others.copies, *groups, tools.seed)
    return replace(beside, copies=copies)


def _features(side: Side, tools: Instruments) -> Features:
    return {
        one.name: extract(
            one, side.pool, tools.told(f"Features ({one.name}) of {side.canvases.set.name} slices")
        )
        for one in tools.extractors
    }


def _measured(
    real: Side, known: Features, other: Side, tools: Instruments, splits: int, far: bool = True
) -> Measured:
    """Measure one set.

    Args:
        real: The real slices.
        known: Features of the real slices.
        other: The set to measure.
        tools: Settings and tools of the measurements.
        splits: Number of splits of the real slices, for the baselines of classifiers.
        far: Whether to measure distances.
    """
    features, seed = _features(other, tools), tools.seed
    pools = real.pool, other.pool
    groups = real.pool.groups, other.pool.groups
    pairs = {name: (known[name], features[name]) for name in features}
    said = f"{other.canvases.set.name} slices beside real ones"
    copies = _copies(real, other, pairs, seed)
    labels = None
    if len(other.book):
        labels = compare_labels(real.book, other.book, copies.spaces["pixels"], seed)
    return Measured(
        published={
            size: two_sample(
                *pools,
                size,
                seed,
                epochs=tools.epochs,
                splits=splits,
                device=tools.device,
                progress=tools.told(f"Classifying at {size}: {said}"),
            )
            for size in tools.sizes
        },
        features={
            name: feature_two_sample(name, *pair, *pools, seed, splits=splits)
            for name, pair in pairs.items()
        },
        tests={
            name: feature_tests(
                *pair, *groups, seed, progress=tools.told(f"Testing features ({name}): {said}")
            )
            for name, pair in pairs.items()
        },
        distances={
            name: distances(
                *pair, *groups, seed, progress=tools.told(f"Distances ({name}): {said}")
            )
            for name, pair in pairs.items()
            if far
        },
        diversity=diversity(*pools, seed),
        copies=copies,
        labels=labels,
    )


def _copies(
    real: Side,
    other: Side,
    pairs: Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]],
    seed: int,
) -> Copies:
    spaces = {"pixels": (outlines(real.pool), outlines(other.pool))}
    if _LATENT in pairs:
        spaces[_LATENT] = pairs[_LATENT]
    sources = [member.sources for member in other.canvases.set.members]
    series = [member.series for member in real.canvases.set.members]
    return find_copies(spaces, real.pool, other.pool, sources, series, seed)


def _beside(found: Any, others: Any) -> Any:
    """Set the baseline of every nested estimate to the value of its counterpart in ``others``."""
    if isinstance(found, Estimate):
        return replace(found, baseline=others.value) if isinstance(others, Estimate) else found
    if isinstance(found, Mapping) and isinstance(others, Mapping):
        return {name: _beside(one, others.get(name)) for name, one in found.items()}
    if is_dataclass(found) and not isinstance(found, type) and type(found) is type(others):
        names = [field.name for field in fields(found)]
        parts = {name: _beside(getattr(found, name), getattr(others, name)) for name in names}
        return replace(found, **parts)
    return found
