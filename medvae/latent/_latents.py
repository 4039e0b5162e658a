"""Latents of slices, with their neighbours, and the statistics of those of a training set."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from medvae.atomic import write_files
from medvae.errors import ReadError
from medvae.neighbours import Neighbours
from medvae.schema import read_object

_FORMAT = 1
_TENSORS = ("mu", "posterior_scale", "mean", "factor")
_TENSOR_FILE = "latents.safetensors"
_NAME_FILE = "latents.json"


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
        _check_latents(self.mu, keys=self.keys, groups=self.groups, kinds=self.kinds)
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
        vectors = map(_as_vectors, (mu, logvar))
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


@dataclass(frozen=True, eq=False)
class LatentStatistics:
    """Positions of the N slices of a training set in the latent space, and their spread.

    A spatial latent is flattened to a vector of its D values, channel by channel and row by row.
    All tensors are float32 on the CPU.

    Attributes:
        keys: Key of each slice.
        groups: Patient group of each slice, so that a sampler can leave out a patient's own slices.
        mu: Posterior means `[N, D]`.
        posterior_scale: Square root of each unit's mean posterior variance `[D]`.
        mean: Mean of `mu` over the slices `[D]`.
        factor: Factor of the covariance, `[D, r]` with r < N and r <= D: `factor @ factor.T` is
            the sample covariance of `mu`, so that `mean + factor @ normal` has the slices' spread.

    Raises:
        ValueError: The lengths, shapes or types do not match, or a value is not finite.
    """

    keys: tuple[str, ...]
    groups: tuple[str, ...]
    mu: Tensor
    posterior_scale: Tensor
    mean: Tensor
    factor: Tensor

    def __post_init__(self) -> None:
        _check_latents(self.mu, 1, keys=self.keys, groups=self.groups)
        units = self.mu.shape[1]
        _require(self.factor.dim() == 2, f"factor must be [D, r], but is {list(self.factor.shape)}")
        rank = self.factor.shape[1]
        _require(rank <= min(len(self.keys) - 1, units), f"factor has {rank} directions, too many")
        shapes = {"posterior_scale": (units,), "mean": (units,), "factor": (units, rank)}
        for name, shape in shapes.items():
            found = tuple(getattr(self, name).shape)
            _require(found == shape, f"{name} must be {list(shape)}, but is {list(found)}")
        for name in _TENSORS:
            tensor = getattr(self, name)
            _require(
                tensor.dtype == torch.float32, f"{name} must be float32, but is {tensor.dtype}"
            )
            _require(bool(tensor.isfinite().all()), f"{name} must be finite, but is not")

    @classmethod
    def of(
        cls, keys: Iterable[str], groups: Iterable[str], mu: Tensor, logvar: Tensor
    ) -> LatentStatistics:
        """Compute the statistics of the posteriors of slices.

        Args:
            keys: Keys of the N slices, in the order of the latents.
            groups: Patient group of each slice.
            mu: Posterior means `[N, *latent_shape]`.
            logvar: Logarithms of the posterior variances, of the same shape.

        Raises:
            ValueError: The lengths or shapes do not match, or a latent is not finite.
        """
        _require(
            mu.shape == logvar.shape and mu.dim() > 1,
            f"mu and logvar must be [N, *latent_shape], but are {list(mu.shape)} and "
            f"{list(logvar.shape)}",
        )
        keys, groups = tuple(keys), tuple(groups)
        mu, logvar = map(_as_vectors, (mu, logvar))
        _check_latents(mu, 1, keys=keys, groups=groups)
        mean = mu.double().mean(0)
        scale = logvar.double().exp().mean(0).sqrt()
        factor = _covariance_factor(mu.double() - mean)
        return cls(keys, groups, mu, scale.float(), mean.float(), factor.float())

    def save(self, folder: Path) -> None:
        """Write `latents.safetensors` and `latents.json`; the same statistics give the same bytes.

        Raises:
            WriteError: A file cannot be written.
        """
        tensors = {name: getattr(self, name).contiguous() for name in _TENSORS}
        data = safetensors.torch.save(tensors)
        fields = {
            "format": _FORMAT,
            "sha256": hashlib.sha256(data).hexdigest(),
            "keys": self.keys,
            "groups": self.groups,
        }
        names = json.dumps(fields, indent=2) + "\n"
        write_files({folder / _TENSOR_FILE: data, folder / _NAME_FILE: names.encode()})

    @classmethod
    def load(cls, folder: Path) -> LatentStatistics:
        """Read the files that :meth:`save` wrote, without running code from them.

        Raises:
            ReadError: A file is missing or damaged, or the two do not belong together.
        """
        absent = f"{folder}: no latent statistics here, {_NAME_FILE} is missing"
        fields = read_object(folder / _NAME_FILE, absent)
        if fields.content.get("format") != _FORMAT:
            raise ReadError(f"{fields.where}: must describe latent statistics of format {_FORMAT}")
        path = folder / _TENSOR_FILE
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise ReadError(
                f"{folder}: no latent statistics here, {path.name} is missing"
            ) from error
        except OSError as error:
            raise ReadError(f"{path}: cannot be read: {error.strerror}") from error
        # The hash does not protect against forgery: if a run was killed between the two files, or
        # only one of them was copied, every latent would get the name of another slice.
        if hashlib.sha256(data).hexdigest() != fields.text("sha256"):
            raise ReadError(f"{path}: is damaged, or was not written together with {_NAME_FILE}")
        try:
            tensors = safetensors.torch.load(data)
            _require(tensors.keys() == set(_TENSORS), f"it must hold {', '.join(_TENSORS)}")
            return cls(fields.texts("keys"), fields.texts("groups"), **tensors)
        except (SafetensorError, ValueError) as error:
            raise ReadError(f"{path}: does not hold latent statistics: {error}") from error


def _check_latents(mu: Tensor, least: int = 0, **names: Sequence[object]) -> None:
    """Raise ValueError unless latents are finite, `[N, D]` with N >= `least`, and all named."""
    if mu.dim() != 2 or not mu.shape[1] or len(mu) < least:
        raise ValueError(f"mu must be [N, D], but is {list(mu.shape)}")
    if not mu.isfinite().all():
        raise ValueError("mu must be finite, but is not")
    for name, found in names.items():
        if len(found) != len(mu):
            raise ValueError(f"{name} must be {len(mu)}, one a latent, but are {len(found)}")


def _as_vectors(latents: Tensor) -> Tensor:
    """Return a copy of latents `[N, *latent_shape]` as vectors `[N, D]`, float32 on the CPU."""
    return latents.detach().flatten(1).to("cpu", torch.float32, copy=True)


def _covariance_factor(centred: Tensor) -> Tensor:
    """Return `factor`, `[D, r]`, for latents `[N, D]` with mean 0, widest direction first."""
    count, units = centred.shape
    # Both products have the same nonzero eigenvalues; decomposing the smaller one is many times as
    # fast as a singular value decomposition of the latents, which gives their square roots.
    if units <= count:
        values, directions = torch.linalg.eigh(centred.T @ centred)
        factor: Tensor = directions * values.clamp(min=0).sqrt()
    else:
        values, mixtures = torch.linalg.eigh(centred @ centred.T)
        factor = centred.T @ mixtures
    # Directions beyond the rank are rounding errors, and arbitrary.
    smallest = values.max() * max(count, units) * torch.finfo(values.dtype).eps
    rank = min(int((values > smallest).sum()), count - 1)
    factor = factor.flip(1)[:, :rank]
    # The sign of a direction is arbitrary; it is fixed so that equal latents give equal files.
    largest = factor.abs().argmax(0, keepdim=True)
    return factor * factor.gather(0, largest).sign() / math.sqrt(max(count - 1, 1))


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)
