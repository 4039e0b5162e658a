"""Samplers; each method is a class, listed in ``SAMPLERS``."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from medvae.errors import UsageProblem, check_choice
from medvae.latent._latents import Latents, LatentStatistics, nearest
from medvae.latent._sampler import Offsets, Partner, Randoms, Sampler, SamplerContext, Vector

_NEIGHBOURS = 8
"""Number of neighbours from which one is drawn."""


class PriorSampler(Sampler):
    r"""Sampler from the prior N(0, I); at strength 1, the published generation of new slices.

    At strength t the latent is `sqrt(1 - t^2) * mu + t * draw`, a path along the great circle.
    Latents that are distributed like the prior remain so at every strength; halfway along a
    straight line, all would be nearer to 0 than any latent that the decoder was trained with. The
    path ends at the draw, at strength 1.
    """

    name = "prior"
    strongest = 1.0

    def offsets(self, sources: Latents, randoms: Randoms) -> Offsets:
        for random in randoms:
            yield random.standard_normal(sources.mu.shape[1]), None

    def own_share(self, strength: float) -> float:
        return math.sqrt(1 - strength**2)


class PosteriorSampler(Sampler):
    """Sampler from the slice's posterior, the encoder's uncertainty: `mu + t * sigma * draw`."""

    name = "posterior"

    def offsets(self, sources: Latents, randoms: Randoms) -> Offsets:
        for logvar, random in zip(sources.logvar, randoms, strict=True):
            sigma = np.exp(logvar.double().numpy() / 2)
            yield sigma * random.standard_normal(len(sigma)), None


class GaussianSampler(Sampler):
    """Sampler around the slice with the training set's covariance: `mu + t * factor @ draw`."""

    name = "gaussian"

    def __init__(self, statistics: LatentStatistics) -> None:
        self._factor = statistics.factor.double().contiguous().numpy()

    @classmethod
    def from_context(cls, context: SamplerContext) -> GaussianSampler:
        return cls(context.statistics)

    def offsets(self, sources: Latents, randoms: Randoms) -> Offsets:
        for random in randoms:
            draw = random.standard_normal(self._factor.shape[1])
            # Unlike BLAS products, this rounds in the same way for any number of threads.
            yield np.einsum("ur,r->u", self._factor, draw), None


class InterpolateSampler(Sampler):
    """Sampler that moves towards a neighbour; at strength 1 the latent is the neighbour's.

    The neighbour is drawn from the 8 nearest slices of other patients that have the same set of
    categories; a slice without such a neighbour keeps its latent. The path is a straight line:
    between neighbours it stays near real slices, but beyond the neighbour it would not.
    """

    name = "interpolate"
    strongest = 1.0
    needs_others = True

    def __init__(self, pool: Latents) -> None:
        self._pool = pool

    @classmethod
    def from_context(cls, context: SamplerContext) -> InterpolateSampler:
        return cls(context.pool_for(cls.name))

    def offsets(self, sources: Latents, randoms: Randoms) -> Offsets:
        found = nearest(sources, self._pool, _NEIGHBOURS, same_kinds=True)
        for own, neighbours, random in zip(sources.mu, found, randoms, strict=True):
            if not len(neighbours):
                yield own.double().numpy(), None
                continue
            row = neighbours[random.integers(len(neighbours))]
            partner = Partner(self._pool.keys[row], self._pool.groups[row])
            yield self._pool.mu[row].double().numpy(), partner

    def own_share(self, strength: float) -> float:
        return 1 - strength


class DirectionSampler(Sampler):
    """Sampler that moves only along chosen principal directions of the training set.

    Args:
        statistics: Statistics of the training set.
        amounts: Standard deviations to move by at strength 1, by the number of the direction;
            direction 1 is the widest. None draws the amount from N(0, 1).

    Raises:
        UsageProblem: A direction does not exist.
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
        """Build the sampler from directions, with or without amounts: ``1,3`` or ``1=-2,3``."""
        return cls(context.statistics, _amounts(argument or ""))

    def offsets(self, sources: Latents, randoms: Randoms) -> Offsets:
        for random in randoms:
            offset = np.zeros(self._units)
            for direction, amount in self._steps:
                offset += direction * (random.standard_normal() if amount is None else amount)
            yield offset, None


class AlignSampler(Sampler):
    """Sampler that shifts latents by the difference of two sets' means, equal at strength 1.

    This is the published correction of synthetic slices towards real ones, or of one scanner's
    slices towards another's. It uses no random numbers.

    Args:
        own: Latents of the set to which the slices belong.
        target: Latents of the set to align to.
    """

    name = "align"
    strongest = 1.0
    needs_others = True

    def __init__(self, own: Latents, target: Latents) -> None:
        self._shift = _mean(target) - _mean(own)

    @classmethod
    def from_context(cls, context: SamplerContext) -> AlignSampler:
        pool = context.pool_for(cls.name)
        if context.target is None:
            raise UsageProblem(
                "the sampler align requires slices to align to", parameter="align_to"
            )
        return cls(pool, context.target)

    def offsets(self, sources: Latents, randoms: Randoms) -> Offsets:
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
"""Sampler classes by name."""


def make_sampler(
    spec: str,
    statistics: LatentStatistics,
    pool: Latents | None = None,
    target: Latents | None = None,
) -> Sampler:
    """Return the sampler for a specification.

    Args:
        spec: Name from ``SAMPLERS``. ``direction`` takes directions: ``direction:1,3`` moves by
            random amounts, ``direction:1=-2`` by that many standard deviations.
        statistics: Statistics of the latents of the model's training set.
        pool: Latents of all slices to augment, for ``interpolate`` and ``align``.
        target: Latents of the set to align to, for ``align``.

    Raises:
        UsageProblem: The sampler or direction does not exist, or there is nothing to align to.
        ValueError: The sampler needs a pool, and none is given.
    """
    name, colon, argument = spec.partition(":")
    check_choice([name], SAMPLERS, "sampler", "sampler")
    context = SamplerContext(statistics, pool, target)
    return SAMPLERS[name].from_spec(argument if colon else None, context)


def _amounts(text: str) -> dict[int, float | None]:
    """Parse text such as `1,3=-2` into amounts for :class:`DirectionSampler`."""
    amounts: dict[int, float | None] = {}
    for part in text.split(","):
        number, equals, amount = part.partition("=")
        try:
            direction, value = int(number), float(amount) if equals else None
        except ValueError:
            direction, value = 0, math.nan
        if value is not None and not math.isfinite(value):
            raise UsageProblem(
                f"{f'direction:{text}'!r} is not understood; give directions, as in direction:1,3, "
                "or also numbers of standard deviations, as in direction:1=-2,3",
                parameter="sampler",
            )
        if direction in amounts:
            raise UsageProblem(
                f"{f'direction:{text}'!r} repeats direction {direction}", parameter="sampler"
            )
        amounts[direction] = value
    return amounts


def _mean(latents: Latents) -> Vector:
    """Return the mean of `mu`, `[D]`, independent of the order of the slices."""
    if not len(latents):
        raise ValueError("there must be latents to take the mean of, but there are none")
    order = sorted(range(len(latents)), key=latents.keys.__getitem__)
    total: Vector = latents.mu.numpy()[order].sum(0, dtype=np.float64)
    return total / len(latents)
