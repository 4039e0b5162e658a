"""Drawing new latents near those of slices, one way of it a class."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medvae.errors import UsageProblem
from medvae.latent._latents import Latents
from medvae.latent._neighbours import nearest
from medvae.latent._statistics import LatentStatistics

__all__ = [
    "SAMPLERS",
    "AlignSampler",
    "DirectionSampler",
    "Drawn",
    "GaussianSampler",
    "InterpolateSampler",
    "Partner",
    "PosteriorSampler",
    "PriorSampler",
    "Sampler",
    "SamplerContext",
    "make_sampler",
]

Vector = NDArray[np.float64]

_NEIGHBOURS = 8
"""Of so many one is drawn: as many as are asked for a host, where 30 or all did worse."""


class Partner(NamedTuple):
    """The slice of another patient that a latent was moved towards."""

    key: str
    group: str


@dataclass(frozen=True, eq=False)
class Drawn:
    """What a sampler drew.

    Attributes:
        z: new latents `[N, D]`, float32 on the CPU.
        partners: for each the slice that it was drawn towards. None where the sampler needs none;
            where it needs one, that there is none, and the latent is the slice's own.
    """

    z: Tensor
    partners: tuple[Partner | None, ...]


@dataclass(frozen=True, eq=False)
class SamplerContext:
    """What samplers can be built from.

    Attributes:
        statistics: Of the latents of the model's training set.
        pool: Latents of all slices that are augmented; None if they are not known.
        target: Latents of the set to align to; None if there is none.
    """

    statistics: LatentStatistics
    pool: Latents | None = None
    target: Latents | None = None

    def neighbours(self, name: str) -> Latents:
        """Return the pool.

        Raises:
            ValueError: There is none.
        """
        if self.pool is None:
            raise ValueError(f"sampler {name} needs the latents of all slices")
        return self.pool


class Sampler(ABC):
    """Draws new latents near those of slices.

    A latent is a function of its slice, its strength and its generator alone: drawn together with
    others or by itself, it is the same to the last bit. Generators in the same state draw the same
    numbers for different slices, so that all slices of a study can be moved alike.

    Attributes:
        name: What users call it.
        strongest: The greatest strength that means something.
        needs_others: It needs the latents of other slices too.
        example: What users may write to get it; by default its name.
    """

    name: ClassVar[str]
    strongest: ClassVar[float] = math.inf
    needs_others: ClassVar[bool] = False
    example: ClassVar[str] = ""

    @classmethod
    def from_spec(cls, argument: str | None, context: SamplerContext) -> Sampler:
        """Build the sampler that a user asks for.

        Args:
            argument: What follows the name and a colon, such as ``1,3`` in ``direction:1,3``;
                None if there is no colon.
            context: What it can be built from.

        Raises:
            UsageProblem: The argument means nothing, or something is missing.
        """
        if argument is not None:
            raise UsageProblem(
                f"sampler {f'{cls.name}:{argument}'!r}: {cls.name} takes no argument"
            )
        return cls._from_context(context)

    @classmethod
    def _from_context(cls, context: SamplerContext) -> Sampler:
        """Build a sampler that takes no argument; override this if it needs the context."""
        return cls()

    def sample(
        self,
        sources: Latents,
        strength: Sequence[float],
        randoms: Sequence[np.random.Generator],
    ) -> Drawn:
        """Draw a new latent for each slice.

        Args:
            sources: the slices' own latents.
            strength: how far to go from each, from 0, which gives exactly its own `mu`, up to
                ``strongest``.
            randoms: a generator for each.

        Raises:
            UsageProblem: a strength is out of range.
            ValueError: the arguments do not belong together.
        """
        self._check(sources, strength, randoms)
        z = sources.mu.clone()
        partners = []
        for index, (offset, partner) in enumerate(self._offsets(sources, randoms)):
            own, t = sources.mu[index].double().numpy(), strength[index]
            if offset.shape != own.shape:
                raise ValueError(
                    f"{self.name} is for latents of {len(offset)} units, not {len(own)}"
                )
            if t:
                z[index] = torch.from_numpy(self._own_share(t) * own + t * offset)
            partners.append(partner)
        return Drawn(z, tuple(partners))

    @abstractmethod
    def _offsets(
        self, sources: Latents, randoms: Sequence[np.random.Generator]
    ) -> Iterator[tuple[Vector, Partner | None]]:
        """Yield for each slice what is added to its latent at strength 1, `[D]`."""

    def _own_share(self, strength: float) -> float:
        """Return how much of the slice's own latent is kept."""
        return 1.0

    def _check(
        self,
        sources: Latents,
        strength: Sequence[float],
        randoms: Sequence[np.random.Generator],
    ) -> None:
        if not len(sources) == len(strength) == len(randoms):
            raise ValueError(
                f"there must be a strength and a generator for each of {len(sources)} latents, "
                f"but there are {len(strength)} and {len(randoms)}"
            )
        for t in strength:
            if not (0 <= t <= self.strongest and math.isfinite(t)):
                limit = f"to {self.strongest:g}" if math.isfinite(self.strongest) else "on"
                raise UsageProblem(f"strength of {self.name} must be from 0 {limit}, but is {t}")


class PriorSampler(Sampler):
    r"""Draws from the prior N(0, I): at strength 1, the published generation of new slices.

    At strength t the latent is `sqrt(1 - t^2) * mu + t * draw`, a path along the great circle. Of
    latents that are spread as the prior, it makes latents that are spread as the prior at every
    strength; half-way on the straight line, all would be nearer to 0 than any that the decoder was
    trained with. Beyond the draw there is nothing.
    """

    name = "prior"
    strongest = 1.0

    def _offsets(
        self, sources: Latents, randoms: Sequence[np.random.Generator]
    ) -> Iterator[tuple[Vector, None]]:
        for random in randoms:
            yield random.standard_normal(sources.mu.shape[1]), None

    def _own_share(self, strength: float) -> float:
        return math.sqrt(1 - strength**2)


class PosteriorSampler(Sampler):
    """Draws from the slice's posterior, `mu + t * sigma * draw`: what the encoder left open."""

    name = "posterior"

    def _offsets(
        self, sources: Latents, randoms: Sequence[np.random.Generator]
    ) -> Iterator[tuple[Vector, None]]:
        for logvar, random in zip(sources.logvar, randoms, strict=True):
            sigma = np.exp(logvar.double().numpy() / 2)
            yield sigma * random.standard_normal(len(sigma)), None


class GaussianSampler(Sampler):
    """Draws around the slice as the training set is spread: `mu + t * factor @ draw`."""

    name = "gaussian"

    def __init__(self, statistics: LatentStatistics) -> None:
        self._factor = statistics.factor.double().contiguous().numpy()

    @classmethod
    def _from_context(cls, context: SamplerContext) -> GaussianSampler:
        return cls(context.statistics)

    def _offsets(
        self, sources: Latents, randoms: Sequence[np.random.Generator]
    ) -> Iterator[tuple[Vector, None]]:
        for random in randoms:
            draw = random.standard_normal(self._factor.shape[1])
            # Unlike a product by BLAS, rounded in the same way on any number of threads.
            yield np.einsum("ur,r->u", self._factor, draw), None


class InterpolateSampler(Sampler):
    """Moves towards a latent neighbour: at strength 1 the latent is the neighbour's.

    The neighbour is drawn from the 8 nearest slices of other patients that have the same set of
    categories; a slice that has no such neighbour keeps its latent. The path is a straight line:
    between neighbours it is nowhere far from real slices, as it would be beyond the neighbour.
    """

    name = "interpolate"
    strongest = 1.0
    needs_others = True

    def __init__(self, pool: Latents) -> None:
        self._pool = pool

    @classmethod
    def _from_context(cls, context: SamplerContext) -> InterpolateSampler:
        return cls(context.neighbours(cls.name))

    def _offsets(
        self, sources: Latents, randoms: Sequence[np.random.Generator]
    ) -> Iterator[tuple[Vector, Partner | None]]:
        found = nearest(sources, self._pool, _NEIGHBOURS, same_kinds=True)
        for own, neighbours, random in zip(sources.mu, found, randoms, strict=True):
            if not len(neighbours):
                yield own.double().numpy(), None
                continue
            row = neighbours[random.integers(len(neighbours))]
            partner = Partner(self._pool.keys[row], self._pool.groups[row])
            yield self._pool.mu[row].double().numpy(), partner

    def _own_share(self, strength: float) -> float:
        return 1 - strength


class DirectionSampler(Sampler):
    """Moves along chosen principal directions of the training set, and in no other.

    Args:
        statistics: of the training set.
        amounts: standard deviations to move by at strength 1, for each number of a direction;
            direction 1 is the widest. None: drawn from N(0, 1).

    Raises:
        UsageProblem: there is no such direction.
    """

    name = "direction"
    example = "direction:1,3"

    def __init__(self, statistics: LatentStatistics, amounts: Mapping[int, float | None]) -> None:
        rank = statistics.factor.shape[1]
        for number in amounts:
            if not 1 <= number <= rank:
                raise UsageProblem(
                    f"sampler direction: there is no direction {number}: the latents of the "
                    f"training set are spread in {rank}, counted from 1"
                )
        factor = statistics.factor.double().numpy()
        self._units = len(factor)
        self._steps = [(factor[:, number - 1], amounts[number]) for number in sorted(amounts)]

    @classmethod
    def from_spec(cls, argument: str | None, context: SamplerContext) -> DirectionSampler:
        """Build it from directions: ``1,3``, or with their amounts: ``1=-2,3``."""
        return cls(context.statistics, _amounts(argument or ""))

    def _offsets(
        self, sources: Latents, randoms: Sequence[np.random.Generator]
    ) -> Iterator[tuple[Vector, None]]:
        for random in randoms:
            offset = np.zeros(self._units)
            for direction, amount in self._steps:
                offset += direction * (random.standard_normal() if amount is None else amount)
            yield offset, None


class AlignSampler(Sampler):
    """Shifts latents by the difference of two sets' means: at strength 1 the means agree.

    The published correction of synthetic slices towards real ones, or of one scanner's towards
    another's. Nothing is drawn.

    Args:
        own: the set that the slices belong to.
        target: the set that they shall be like.
    """

    name = "align"
    strongest = 1.0
    needs_others = True

    def __init__(self, own: Latents, target: Latents) -> None:
        self._shift = _mean(target) - _mean(own)

    @classmethod
    def _from_context(cls, context: SamplerContext) -> AlignSampler:
        pool = context.neighbours(cls.name)
        if context.target is None:
            raise UsageProblem(
                "sampler align: there is nothing to align to: give --align-to STUDIES"
            )
        return cls(pool, context.target)

    def _offsets(
        self, sources: Latents, randoms: Sequence[np.random.Generator]
    ) -> Iterator[tuple[Vector, None]]:
        for _ in randoms:
            yield self._shift, None


SAMPLERS: dict[str, type[Sampler]] = {
    sampler.name: sampler
    for sampler in (
        PriorSampler,
        PosteriorSampler,
        GaussianSampler,
        InterpolateSampler,
        DirectionSampler,
        AlignSampler,
    )
}
"""The samplers by the names that users give."""


def make_sampler(
    spec: str,
    statistics: LatentStatistics,
    pool: Latents | None = None,
    target: Latents | None = None,
) -> Sampler:
    """Return the sampler that a user asks for.

    Args:
        spec: One of ``SAMPLERS``. ``direction`` says along which: ``direction:1,3`` by random
            amounts, ``direction:1=-2`` by so many standard deviations.
        statistics: Of the latents of the model's training set.
        pool: Latents of all slices that are augmented, for ``interpolate`` and ``align``.
        target: Latents of the set to align to, for ``align``.

    Raises:
        UsageProblem: There is no such sampler or direction, or nothing to align to.
        ValueError: The pool is missing where it is needed.
    """
    name, colon, argument = spec.partition(":")
    if name not in SAMPLERS:
        raise UsageProblem(f"sampler {spec!r}: unknown {name!r}; choose from {', '.join(SAMPLERS)}")
    context = SamplerContext(statistics, pool, target)
    return SAMPLERS[name].from_spec(argument if colon else None, context)


def _amounts(text: str) -> dict[int, float | None]:
    """Read `1,3=-2` as what :class:`DirectionSampler` takes."""
    amounts: dict[int, float | None] = {}
    for part in text.split(","):
        number, equals, amount = part.partition("=")
        try:
            direction, value = int(number), float(amount) if equals else None
        except ValueError:
            direction, value = 0, math.nan
        if value is not None and not math.isfinite(value):
            raise UsageProblem(
                f"sampler {f'direction:{text}'!r}: say along which directions, such as "
                "direction:1,3, or also by how many standard deviations, such as direction:1=-2,3"
            )
        if direction in amounts:
            raise UsageProblem(
                f"sampler {f'direction:{text}'!r}: direction {direction} is given twice"
            )
        amounts[direction] = value
    return amounts


def _mean(latents: Latents) -> Vector:
    """Return the mean of `mu` `[D]`, which the order of the slices does not change."""
    if not len(latents):
        raise ValueError("there must be latents to take the mean of, but there are none")
    mu = latents.mu.numpy()
    total = np.zeros(mu.shape[1])
    for row in sorted(range(len(latents)), key=lambda row: latents.keys[row]):
        total += mu[row]
    return total / len(latents)
