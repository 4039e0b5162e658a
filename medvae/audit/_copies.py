"""Copies: synthetic slices that are too near to a real slice which they do not declare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from medvae.audit._estimate import Estimate, Pool
from medvae.audit._patients import patients_in, share
from medvae.gates import outline
from medvae.latent import Latents, nearest

__all__ = ["Copies", "Nearest", "find_copies", "outlines"]

Vectors = NDArray[np.float32]

_PERCENTILE = 1
_LEAST = 0.02


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest real slice of each synthetic one in one space.

    Attributes:
        row: its place in the real set, ``[M]``.
        distance: to it, ``[M]``.
        real_distance: from each real slice to the nearest other one, ``[N]``.
        stranger_distance: to the nearest of another patient, ``[N]``; infinite where there is none.
        limit: what is nearer is a copy.
    """

    row: NDArray[np.intp]
    distance: NDArray[np.float64]
    real_distance: NDArray[np.float64]
    stranger_distance: NDArray[np.float64]
    limit: float


@dataclass(frozen=True, eq=False)
class Copies:
    """Which synthetic slices are copies of real ones.

    Attributes:
        share: of slices that are copies of one that they do not declare.
        declared_share: of slices that are as near to one that they declare.
        spaces: neighbours by the name of the space: ``pixels``, and ``encoder`` with a model.
        copied: whether a slice is a copy, ``[M]``.
        declared: whether it is as near to a declared source, ``[M]``.
        nearness: distance as a share of the limit, in the space where it is least, ``[M]``;
            infinite for a slice on which there is nothing.
        nearest: the real slice there, ``[M]``.
    """

    share: Estimate
    declared_share: Estimate
    spaces: Mapping[str, Nearest]
    copied: NDArray[np.bool_]
    declared: NDArray[np.bool_]
    nearness: NDArray[np.float64]
    nearest: NDArray[np.intp]

    def worst(self, count: int = 20) -> list[int]:
        """Return places of synthetic slices: the copies and those nearest to be ones, worst first.

        Slices that are near to a declared source come last.
        """
        order = np.lexsort((self.nearness, self.declared))
        return [int(row) for row in order[:count]]


def outlines(pool: Pool) -> Vectors:
    """Return the broad shape of each slice, as the gate `copy` compares it, ``[N, 256]``."""
    return np.stack([outline(pool.batch(slice(row, row + 1))[0]) for row in range(len(pool))])


def find_copies(
    spaces: Mapping[str, tuple[Vectors, Vectors]],
    real: Pool,
    synthetic: Pool,
    sources: Sequence[tuple[str, ...] | None],
    seed: int,
) -> Copies:
    """Find synthetic slices that are nearer to a real slice than real slices are to one another.

    In each space the limit is what 99 % of the real slices have to the nearest other one, of the
    same patient or not, but 2 % of the set's spread at least: slices that are there twice must not
    make it 0. A slice is a copy where it is below the limit in one of the spaces. The baseline is
    the share of real slices that are as near to one of another patient. Slices on which there is
    nothing at all are like one another and are left out of limit and shares.

    Args:
        spaces: real ``[N, D]`` and synthetic vectors ``[M, D]`` by the name of the space.
        real, synthetic: the sets.
        sources: keys of the real slices that each synthetic one declares; None or empty where it
            declares none.
        seed: of the bootstrap.
    """
    here, there = _shown(real), _shown(synthetic)
    found = {name: _nearest(*vectors, real, synthetic, here) for name, vectors in spaces.items()}
    nearness = np.stack([space.distance / space.limit for space in found.values()])
    nearness[:, ~there] = np.inf
    rows = np.stack([space.row for space in found.values()])
    named = [_named(*spaces[name], space, real, sources) for name, space in found.items()]
    near = nearness < 1
    copied: NDArray[np.bool_] = np.any(near & ~np.stack(named), axis=0)
    declared: NDArray[np.bool_] = np.any(near, axis=0) & ~copied
    strange: NDArray[np.bool_] = np.any(
        [space.stranger_distance < space.limit for space in found.values()], axis=0
    )
    baseline = float(strange[here].mean()) if len(patients_in(real.groups)) > 1 else None
    least = nearness.argmin(0)
    each = np.arange(len(synthetic))
    groups = [of for of, shown in zip(synthetic.groups, there, strict=True) if shown]
    return Copies(
        share=share(copied[there], groups, seed, baseline),
        declared_share=share(declared[there], groups, seed),
        spaces=found,
        copied=copied,
        declared=declared,
        nearness=nearness[least, each],
        nearest=rows[least, each],
    )


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
    spread = float(np.sqrt(known.var(0, dtype=np.float64).sum()))
    finite = own[shown & np.isfinite(own)]
    usual = float(np.percentile(finite, _PERCENTILE)) if len(finite) else 0.0
    # Where all slices lie at one place no distance means anything.
    limit = max(usual, _LEAST * spread) or float(np.finfo(np.float64).tiny)
    return Nearest(row, distance, own, strangers, limit)


def _named(
    known: Vectors,
    asked: Vectors,
    space: Nearest,
    real: Pool,
    sources: Sequence[tuple[str, ...] | None],
) -> NDArray[np.bool_]:
    """Say whether no real slice is nearer to each synthetic one than its declared sources."""
    places = {key: row for row, key in enumerate(real.keys)}
    named = np.zeros(len(asked), np.bool_)
    for index, declared in enumerate(sources):
        rows = [places[key] for key in declared or () if key in places]
        least = min((_distance(asked[index], known[row]) for row in rows), default=np.inf)
        named[index] = least <= space.distance[index]
    return named


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
