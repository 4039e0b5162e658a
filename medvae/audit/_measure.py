"""Everything that is measured of two sets, each number beside its baseline."""

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
"""``[N, D]`` by the name of the extractor."""

_LATENT = "encoder"
_SPLITS = 3


@dataclass(frozen=True, eq=False)
class Side:
    """One of the sets, ready to be measured.

    Attributes:
        canvases: its slices.
        pool: the same as statistics see them.
        book: its findings.
    """

    canvases: Canvases
    pool: Pool
    book: FindingBook


@dataclass(frozen=True, eq=False)
class Instruments:
    """What sets are measured with.

    Attributes:
        sizes: of the pictures that the small network learns from.
        epochs: for which it does.
        extractors: of features.
        seed: of every draw.
        device: to compute on.
        progress: is told what is done, how much of it, of how much, and a word beside it.
    """

    sizes: tuple[int, ...]
    epochs: int
    extractors: tuple[Extractor, ...]
    seed: int
    device: torch.device
    progress: Callable[[str, int, int, str], None]

    def told(self, what: str) -> Callable[[int, int], None]:
        """Return what is told how far one part of the work is."""
        return lambda done, total: self.progress(what, done, total, "")


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured.

    Attributes:
        published: the small network, by the size of its pictures.
        features: the stronger classifier, by extractor.
        tests, distances: by extractor.
        diversity: similarity of pairs of slices.
        copies: of real slices.
        labels: None where no slice has a finding.
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

    Held-out slices of other patients are measured likewise, and give the baselines in the place
    of random splits of the real slices; but for the distances, which depend on how many slices
    there are.
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
        real: the real slices.
        known: their features.
        other: the set.
        tools: what it is measured with.
        splits: of the real slices, for the baselines of classifiers.
        far: measure distances.
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
    """Give every estimate, however deep, the value of its like in ``others`` for a baseline."""
    if isinstance(found, Estimate):
        return replace(found, baseline=others.value) if isinstance(others, Estimate) else found
    if isinstance(found, Mapping) and isinstance(others, Mapping):
        return {name: _beside(one, others.get(name)) for name, one in found.items()}
    if is_dataclass(found) and not isinstance(found, type) and type(found) is type(others):
        names = [field.name for field in fields(found)]
        parts = {name: _beside(getattr(found, name), getattr(others, name)) for name in names}
        return replace(found, **parts)
    return found
