"""Posteriors of slices as vectors, with the key, patient and categories of each, and neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medvae.neighbours import Neighbours


@dataclass(frozen=True, eq=False)
class Latents:
    """Posteriors of N slices; N may be 0, and a slice may occur several times.

    A spatial latent is flattened to a vector of its D values, channel by channel and row by row.
    Both tensors are float32 on the CPU.

    Attributes:
        keys: Key of each slice.
        groups: Patient group of each slice.
        kinds: Names of the categories found on each slice; empty if nothing was found.
        mu: Posterior means `[N, D]`.
        logvar: Logarithms of the posterior variances `[N, D]`.

    Raises:
        ValueError: The lengths or shapes do not match, a tensor is not float32 on the CPU, or a
            value is not finite.
    """

    keys: tuple[str, ...]
    groups: tuple[str, ...]
    kinds: tuple[frozenset[str], ...]
    mu: Tensor
    logvar: Tensor

    def __post_init__(self) -> None:
        check_latents(self.mu, keys=self.keys, groups=self.groups, kinds=self.kinds)
        if self.logvar.shape != self.mu.shape:
            shape = list(self.mu.shape)
            raise ValueError(f"logvar must be {shape}, but is {list(self.logvar.shape)}")
        for name, tensor in (("mu", self.mu), ("logvar", self.logvar)):
            if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
                raise ValueError(
                    f"{name} must be float32 on the CPU, but is {tensor.dtype} on {tensor.device}"
                )
        if not self.logvar.isfinite().all():
            raise ValueError("logvar must be finite, but is not")

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def of(
        cls,
        keys: Iterable[str],
        groups: Iterable[str],
        kinds: Iterable[Iterable[str]],
        mu: Tensor,
        logvar: Tensor,
    ) -> Latents:
        """Create latents from the output of a model's encoder.

        Args:
            keys: Keys of the N slices, in the order of the latents.
            groups: Patient group of each slice.
            kinds: Names of the categories on each slice.
            mu: Posterior means `[N, *latent_shape]`, of any precision, on any device.
            logvar: Logarithms of the posterior variances, of the same shape.

        Raises:
            ValueError: The lengths or shapes do not match, or a latent is not finite.
        """
        if mu.dim() < 2:
            raise ValueError(f"mu must be [N, *latent_shape], but is {list(mu.shape)}")
        vectors = map(as_vectors, (mu, logvar))
        return cls(tuple(keys), tuple(groups), tuple(map(frozenset, kinds)), *vectors)

    @classmethod
    def concat(cls, parts: Sequence[Latents]) -> Latents:
        """Concatenate one or more sets of latents, all of the same D."""
        return cls(
            tuple(key for part in parts for key in part.keys),
            tuple(group for part in parts for group in part.groups),
            tuple(kinds for part in parts for kinds in part.kinds),
            torch.cat([part.mu for part in parts]),
            torch.cat([part.logvar for part in parts]),
        )

    def take(self, indices: Sequence[int]) -> Latents:
        """Return the latents at the given indices, in their order."""
        rows = torch.tensor(indices, dtype=torch.long)
        return Latents(
            tuple(self.keys[index] for index in indices),
            tuple(self.groups[index] for index in indices),
            tuple(self.kinds[index] for index in indices),
            self.mu[rows],
            self.logvar[rows],
        )


def check_latents(mu: Tensor, least: int = 0, **names: Sequence[object]) -> None:
    """Raise ValueError unless latents are finite, `[N, D]` with N >= `least`, and all named."""
    if mu.dim() != 2 or not mu.shape[1] or len(mu) < least:
        raise ValueError(f"mu must be [N, D], but is {list(mu.shape)}")
    if not mu.isfinite().all():
        raise ValueError("mu must be finite, but is not")
    for name, found in names.items():
        if len(found) != len(mu):
            raise ValueError(f"{name} must be {len(mu)}, one a latent, but are {len(found)}")


def as_vectors(latents: Tensor) -> Tensor:
    """Return a copy of latents `[N, *latent_shape]` as vectors `[N, D]`, float32 on the CPU."""
    return latents.detach().flatten(1).to("cpu", torch.float32, copy=True)


def nearest(
    queries: Latents, pool: Latents, count: int, *, same_kinds: bool = False
) -> list[NDArray[np.intp]]:
    """Find the latents of other patients whose means are nearest, by Euclidean distance.

    The result depends neither on the order of the pool nor on which queries are passed together:
    at equal distances, the slice with the lesser key comes first.

    Args:
        queries: Latents whose neighbours are searched; they may be in the pool themselves.
        pool: Latents among which neighbours are searched.
        count: Maximum number of neighbours per query.
        same_kinds: Whether to consider only slices with the same set of categories as the query.

    Returns:
        For each query, the indices of its neighbours in the pool, nearest first: fewer than
        ``count``, or none, if the pool does not hold enough slices of other patients.

    Raises:
        ValueError: ``count`` is below 1, or the latents have different numbers of units.
    """
    known = Neighbours(pool.mu.numpy(), pool.groups, pool.keys, pool.kinds)
    kinds = queries.kinds if same_kinds else None
    return [rows for rows, _ in known.search(queries.mu.numpy(), count, queries.groups, kinds)]
