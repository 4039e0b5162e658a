"""The contract of samplers, which draw new latents near those of slices."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medvae.errors import UsageProblem
from medvae.latent._latents import Latents, LatentStatistics

Vector = NDArray[np.float64]


class Partner(NamedTuple):
    """The slice of another patient that a latent was moved towards."""

    key: str
    group: str


Randoms = Sequence[np.random.Generator]

Offsets = Iterator[tuple[Vector, Partner | None]]
"""The offset `[D]` for each slice, and the partner that it leads to, if any."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """Latents that a sampler drew.

    Attributes:
        z: New latents `[N, D]`, float32 on the CPU.
        partners: Slice towards which each latent was moved. None if the sampler needs no partner;
            otherwise None means that no partner exists, and the latent is the slice's own.
    """

    z: Tensor
    partners: tuple[Partner | None, ...]


@dataclass(frozen=True, eq=False)
class SamplerContext:
    """Data from which samplers can be built.

    Attributes:
        statistics: Statistics of the latents of the model's training set.
        pool: Latents of all slices to augment; None if they are unknown.
        target: Latents of the set to align to; None if there is none.
    """

    statistics: LatentStatistics
    pool: Latents | None = None
    target: Latents | None = None

    def pool_for(self, name: str) -> Latents:
        """Return the pool, which the sampler of this name needs."""
        if self.pool is None:
            raise ValueError(f"sampler {name} needs the latents of all slices")
        return self.pool


class Sampler(ABC):
    """Base class of samplers, which draw new latents near those of slices.

    A latent depends only on its slice, its strength and its generator: drawn alone or together
    with others, it is bitwise the same. Generators in the same state draw the same numbers for
    different slices, so that all slices of a study can be moved alike.

    Attributes:
        name: Name of the sampler in specifications.
        strongest: Maximum strength.
        needs_others: Whether the sampler also needs the latents of other slices.
        example: Example of a specification; the name is used if it is empty.
    """

    name: ClassVar[str]
    strongest: ClassVar[float] = math.inf
    needs_others: ClassVar[bool] = False
    example: ClassVar[str] = ""

    @classmethod
    def from_spec(cls, argument: str | None, context: SamplerContext) -> Sampler:
        """Build the sampler from the argument of its specification.

        Args:
            argument: Text after the name and a colon, such as ``1,3`` in ``direction:1,3``;
                None if there is no colon.
            context: Data from which the sampler can be built.

        Raises:
            UsageProblem: The argument is invalid, or required data are missing.
        """
        if argument is not None:
            raise UsageProblem(
                f"sampler {f'{cls.name}:{argument}'!r}: {cls.name} takes no argument"
            )
        return cls.from_context(context)

    @classmethod
    def from_context(cls, context: SamplerContext) -> Sampler:
        """Build a sampler that takes no argument; override this method to use the context."""
        return cls()

    @classmethod
    def check_strength(cls, strength: float) -> None:
        """Check that the sampler can draw at this strength.

        Raises:
            UsageProblem: The strength is out of range.
        """
        if not (0 <= strength <= cls.strongest and math.isfinite(strength)):
            limit = f"to {cls.strongest:g}" if math.isfinite(cls.strongest) else "on"
            raise UsageProblem(f"strength of {cls.name} must be from 0 {limit}, but is {strength}")

    def sample(self, sources: Latents, strength: Sequence[float], randoms: Randoms) -> Drawn:
        """Draw a new latent for each slice.

        Args:
            sources: Latents of the slices.
            strength: Strength for each slice, from 0, which returns exactly its own `mu`, to
                ``strongest``.
            randoms: Random generator for each slice.

        Raises:
            UsageProblem: A strength is out of range.
            ValueError: The arguments differ in length, or the latents in their number of units.
        """
        if not len(sources) == len(strength) == len(randoms):
            raise ValueError(
                f"there must be a strength and a generator for each of {len(sources)} latents, "
                f"but there are {len(strength)} and {len(randoms)}"
            )
        for t in strength:
            self.check_strength(t)
        z = sources.mu.clone()
        partners = []
        for index, (offset, partner) in enumerate(self.offsets(sources, randoms)):
            own, t = sources.mu[index].double().numpy(), strength[index]
            if offset.shape != own.shape:
                raise ValueError(
                    f"{self.name} is for latents of {len(offset)} units, not {len(own)}"
                )
            if t:
                z[index] = torch.from_numpy(self.own_share(t) * own + t * offset)
            partners.append(partner)
        return Drawn(z, tuple(partners))

    @abstractmethod
    def offsets(self, sources: Latents, randoms: Randoms) -> Offsets:
        """Yield, for each slice, the offset `[D]` added at strength 1, and the partner if any."""

    def own_share(self, strength: float) -> float:
        """Return the factor by which the slice's own latent is multiplied."""
        return 1.0
