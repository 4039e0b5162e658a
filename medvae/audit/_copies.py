"""Copies: synthetic slices that show a patient who is not declared to be in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from medvae.audit._estimate import Estimate, Groups, Pool
from medvae.audit._patients import difference, patients_in, share
from medvae.gates import outline
from medvae.latent import Latents, nearest

__all__ = ["KINDS", "Copies", "Nearest", "find_copies", "outlines", "with_baseline_of"]

Vectors = NDArray[np.float32]

KINDS = ("source", "series", "patient", "stranger")
"""What the real slice is to the synthetic one that is near to it: a source that it declares,
another slice of the series of such a source, another slice of a patient who is declared to be in
it, or a slice of a patient who is not. Only the last kind is a leak."""

_STRANGER = KINDS.index("stranger")
_NOT_NEAR = len(KINDS)

_PERCENTILE = 1
_NEARER = 0.5
_MANY = 12
_LEAST = 0.02
"""Chosen on FLAIR slices of glioma and on short-axis cardiac MR: of slices of as many patients who
were held out, in sets of 3 to 31 patients, 97 % or more have no more than 1 % copies; all plain
copies are found, and of slices that were warped gently nearly all."""


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest real slice of each synthetic one in one space.

    Attributes:
        row: Its place in the real set, ``[M]``.
        distance: The distance to it, ``[M]``.
        real_distance: From each real slice to the nearest other one, ``[N]``.
        stranger_distance: To the nearest slice of another patient, ``[N]``; infinite where there
            is none.
        limit: What is nearer than this is as near as a copy.
    """

    row: NDArray[np.intp]
    distance: NDArray[np.float64]
    real_distance: NDArray[np.float64]
    stranger_distance: NDArray[np.float64]
    limit: float


@dataclass(frozen=True, eq=False)
class Copies:
    """Which synthetic slices are as near to a real one as copies are, and to which one.

    Attributes:
        share: The share of slices that are copies: as near as that to a patient who is not
            declared to be in them. Its baseline is the same share of real slices.
        excess: The share minus its baseline, with an interval over the patients of both.
        shares: The share of slices of each kind, by its name.
        spaces: Neighbours by the name of the space: ``pixels``, and ``encoder`` with a model.
        kind: The index in ``KINDS`` for each slice, or ``len(KINDS)`` where no real slice is near,
            ``[M]``.
        nearness: The distance to the slice that gives the kind, or to the nearest one, as a share
            of the limit, ``[M]``; infinite for a slice on which there is nothing.
        nearest: The real slice there, ``[M]``.
        shown: Whether there is something on a slice, ``[M]``.
    """

    share: Estimate
    excess: Estimate
    shares: Mapping[str, Estimate]
    spaces: Mapping[str, Nearest]
    kind: NDArray[np.intp]
    nearness: NDArray[np.float64]
    nearest: NDArray[np.intp]
    shown: NDArray[np.bool_]

    @property
    def copied(self) -> NDArray[np.bool_]:
        """Whether each slice is a copy, ``[M]``."""
        copied: NDArray[np.bool_] = self.kind == _STRANGER
        return copied

    def kind_of(self, row: int) -> str | None:
        """Return the kind of a slice; None where no real slice is near."""
        return None if self.kind[row] == _NOT_NEAR else KINDS[self.kind[row]]

    def worst(self, count: int = 20) -> list[int]:
        """Return places of synthetic slices: copies first, those near a declared source last.

        Within each group, the nearest come first.
        """
        order = np.lexsort((self.nearness, self.kind == 0, ~self.copied))
        return [int(row) for row in order[:count]]


def outlines(pool: Pool) -> Vectors:
    """Return the broad shape of each slice, as the gate `copy` compares it, ``[N, 256]``."""
    return np.stack([outline(pool.batch(slice(row, row + 1))[0]) for row in range(len(pool))])


def find_copies(
    spaces: Mapping[str, tuple[Vectors, Vectors]],
    real: Pool,
    synthetic: Pool,
    sources: Sequence[tuple[str, ...] | None],
    series: Sequence[str],
    seed: int,
) -> Copies:
    """Find synthetic slices that are nearer to a real one than slices of different patients are.

    The limit of each space follows from the real slices alone: it is half of the distance that 99 %
    of them keep from the nearest slice of another patient. Hardly any real slice may come so near
    to another patient, or the limit would tell nothing. Fewer than 12 patients say less about how
    near others would come, and the limit is smaller in proportion. It is at least 2 % of the median
    of that distance, so that patients who are there twice do not make it 0. Where all are of one
    patient, it is what 99 % of them keep from the nearest other slice.

    A slice that is below the limit is of the kind of its nearest real slice; where the spaces
    disagree, of the first kind in ``KINDS``: a slice that lies at its declared source in one space
    is explained by that. The baseline is the share of real slices that are below the limit to one
    of another patient. Slices on which there is nothing at all are like one another, and are left
    out of limits and shares.

    Args:
        spaces: Real ``[N, D]`` and synthetic vectors ``[M, D]`` by the name of the space.
        real, synthetic: The sets.
        sources: Keys of the real slices that each synthetic one declares; None or empty where it
            declares none.
        series: The series of each real slice.
        seed: Seed of the bootstrap.
    """
    here, there = _shown(real), _shown(synthetic)
    found = {name: _nearest(*vectors, real, synthetic, here) for name, vectors in spaces.items()}
    nearness = np.stack([space.distance / space.limit for space in found.values()])
    nearness[:, ~there] = np.inf
    rows = np.stack([space.row for space in found.values()])
    relation = _Relation(real, synthetic, sources, series)
    kinds = np.stack([relation.of(*spaces[name], space) for name, space in found.items()])
    kinds[nearness >= 1] = _NOT_NEAR
    telling = np.lexsort((nearness, kinds), axis=0)[0]
    each = np.arange(len(synthetic))
    kind = kinds[telling, each]
    strange = np.any([space.stranger_distance < space.limit for space in found.values()], axis=0)
    several = len(patients_in(real.groups)) > 1
    groups, others = _only(synthetic.groups, there), _only(real.groups, here)
    return Copies(
        share=share(
            kind[there] == _STRANGER, groups, seed, float(strange[here].mean()) if several else None
        ),
        excess=difference(kind[there] == _STRANGER, groups, strange[here], others, seed),
        shares={
            name: share(kind[there] == index, groups, seed) for index, name in enumerate(KINDS)
        },
        spaces=found,
        kind=kind,
        nearness=nearness[telling, each],
        nearest=rows[telling, each],
        shown=there,
    )


def with_baseline_of(
    copies: Copies, others: Copies, groups: Groups, other_groups: Groups, seed: int
) -> Copies:
    """Compare a set with held-out slices, which were searched for copies in the same way.

    Args:
        copies: What was found in the set.
        others: What was found among the held-out slices.
        groups: The patients of each slice of the set.
        other_groups: The patients of each held-out slice.
        seed: Seed of the bootstrap.
    """
    excess = difference(
        copies.copied[copies.shown],
        _only(groups, copies.shown),
        others.copied[others.shown],
        _only(other_groups, others.shown),
        seed,
    )
    return replace(copies, excess=excess)


def _only(groups: Groups, shown: NDArray[np.bool_]) -> list[tuple[str, ...]]:
    return [of for of, there in zip(groups, shown, strict=True) if there]


def _shown(pool: Pool) -> NDArray[np.bool_]:
    """Say on which slices there is something, ``[N]``; all where that is nowhere."""
    shown = np.array([np.ptp(picture) > 0 for picture in pool.pictures], np.bool_)
    return shown if shown.any() else ~shown


def _nearest(
    known: Vectors, asked: Vectors, real: Pool, synthetic: Pool, shown: NDArray[np.bool_]
) -> Nearest:
    """Find neighbours in one space; real slices that are shown say what is near."""
    slices = _points(known, real.keys, real.keys)
    row, distance = _beside(_points(asked, synthetic.keys, [""] * len(synthetic)), slices)
    _, own = _beside(slices, slices)
    patients = _points(known, real.keys, [groups[0] for groups in real.groups])
    _, strangers = _beside(patients, patients)
    count = len(patients_in(real.groups))
    limit = _limit(known, own[shown], strangers[shown], count)
    return Nearest(row, distance, own, strangers, limit)


def _limit(
    known: Vectors, own: NDArray[np.float64], strangers: NDArray[np.float64], patients: int
) -> float:
    """Return how near copies are, from the distances of real slices to others and to strangers."""
    own, strangers = own[np.isfinite(own)], strangers[np.isfinite(strangers)]
    limit = 0.0
    if len(strangers):
        nearer = _NEARER * min(1.0, patients / _MANY)
        limit = nearer * float(np.percentile(strangers, _PERCENTILE))
    elif len(own):
        limit = float(np.percentile(own, _PERCENTILE))
    apart = strangers[strangers > 0]
    # The median: a few slices that lie far from all others must not raise the limit.
    usual = float(np.median(apart)) if len(apart) else float(np.sqrt(known.var(0).sum()))
    # Where all slices lie at one place no distance means anything.
    return max(limit, _LEAST * usual) or float(np.finfo(np.float64).tiny)


class _Relation:
    """Says what a real slice is to a synthetic one.

    Args:
        real, synthetic: The sets.
        sources: What each synthetic slice declares.
        series: The series of each real slice.
    """

    def __init__(
        self,
        real: Pool,
        synthetic: Pool,
        sources: Sequence[tuple[str, ...] | None],
        series: Sequence[str],
    ) -> None:
        places = {key: row for row, key in enumerate(real.keys)}
        self._sources = [[places[key] for key in own or () if key in places] for own in sources]
        self._series = series
        self._owners = [of[0] for of in real.groups]
        self._patients = synthetic.groups

    def of(self, known: Vectors, asked: Vectors, space: Nearest) -> NDArray[np.intp]:
        """Return the kind of the real slice that is nearest to each synthetic one, ``[M]``."""
        kinds = []
        for index, (row, distance) in enumerate(zip(space.row, space.distance, strict=True)):
            own = self._sources[index]
            if any(_distance(asked[index], known[source]) <= distance for source in own):
                kinds.append("source")
            elif self._series[row] in {self._series[source] for source in own}:
                kinds.append("series")
            elif self._owners[row] in self._patients[index]:
                kinds.append("patient")
            else:
                kinds.append("stranger")
        return np.array([KINDS.index(kind) for kind in kinds], np.intp)


def _distance(one: Vectors, other: Vectors) -> float:
    return float(np.sqrt(np.square(one.astype(np.float64) - other).sum()))


def _points(vectors: Vectors, keys: Sequence[str], apart: Sequence[str]) -> Latents:
    """Return vectors as something whose neighbours of another name in ``apart`` can be sought."""
    tensor = torch.from_numpy(np.ascontiguousarray(vectors, np.float32))
    return Latents(tuple(keys), tuple(apart), (frozenset(),) * len(keys), tensor, tensor)


def _beside(asked: Latents, known: Latents) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return where the nearest of other names are and how far, ``[M]``; infinite without one."""
    found = nearest(asked, known, 1)
    rows = np.array([row[0] if len(row) else 0 for row in found], np.intp)
    distances = np.full(len(rows), np.inf)
    for place, (row, neighbours) in enumerate(zip(rows, found, strict=True)):
        if len(neighbours):
            distances[place] = _distance(asked.mu[place].numpy(), known.mu[row].numpy())
    return rows, distances
