"""Makes synthetic slices, a batch at a time: draw, render, judge, and draw again what failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from medvae.augmentation._donors import Donors
from medvae.augmentation._judge import Judge
from medvae.augmentation._network import Network
from medvae.augmentation._plan import Batch, Draw
from medvae.augmentation._scenes import Seen, scene_of
from medvae.augmentation._sources import Located
from medvae.augmentation._space import Space
from medvae.augmentation._staged import Staged
from medvae.errors import DecodeError
from medvae.gates import Verdict
from medvae.latent import Sampler
from medvae.randomness import generator
from medvae.render import Refused, Render, Rendered

__all__ = ["Made", "Studio"]

_ATTEMPTS = 4
_GENTLER = 0.7
"""A draw that is rejected is drawn again at so much of its strength; a copy, more strongly."""


@dataclass(frozen=True, eq=False)
class Made:
    """What came of one draw.

    Attributes:
        draw: which one.
        strength: at which it was drawn last.
        reason: why it was rejected; None where it was kept.
        staged: the slice; None where it came to none.
        verdicts: of the gates.
    """

    draw: Draw
    strength: float
    reason: str | None
    staged: Staged | None = None
    verdicts: tuple[Verdict, ...] = ()


class Studio:
    """Makes the slices of batches; several threads may use it at once.

    Args:
        network: encodes and decodes.
        spec: the model's intensity map.
        space: latents of sources and hosts.
        sampler: draws new ones.
        shift: is added to them, ``[D]``; None for nothing.
        render: is led by what they decode to; None where only lesions are transplanted.
        donors: finds hosts for lesions; None where none are transplanted.
        judge: decides what is kept.
        strength: of the first attempt.
    """

    def __init__(
        self,
        network: Network,
        spec: str | None,
        space: Space,
        sampler: Sampler,
        shift: Sampler | None,
        render: Render | None,
        donors: Donors | None,
        judge: Judge,
        strength: float,
    ) -> None:
        self._network = network
        self._spec = spec
        self._space = space
        self._sampler = sampler
        self._shift = shift
        self._render = render
        self._donors = donors
        self._judge = judge
        self._strength = strength

    def make(self, batch: Batch) -> list[Made]:
        """Make a batch; what cannot be made is there too, with the reason."""
        seen, lost = self._decoded(batch)
        open_draws = [draw for draw in batch.draws if draw.source in seen]
        made: dict[Draw, Made] = {}
        strengths = dict.fromkeys(open_draws, self._strength)
        for attempt in range(_ATTEMPTS):
            results = list(self._attempt(batch, open_draws, seen, attempt, strengths))
            made |= {result.draw: result for result in results}
            failed = [result for result in results if result.reason is not None]
            if not failed or self._strength == 0:
                break
            if batch.whole:
                strengths = dict.fromkeys(open_draws, self._next(failed[0]))
            else:
                strengths = {result.draw: self._next(result) for result in failed}
            open_draws = list(strengths)
        if batch.whole:
            made = _all_or_nothing(made)
        for draw, why in lost.items():
            made[draw] = Made(draw, self._strength, why)
        return [made[draw] for draw in batch.draws]

    def _next(self, rejected: Made) -> float:
        """Return the strength of the next attempt: a copy was drawn too gently."""
        if not (rejected.reason or "").startswith("copy"):
            return rejected.strength * _GENTLER
        if self._donors is not None:
            return rejected.strength
        return min(rejected.strength / _GENTLER, self._sampler.strongest)

    def _decoded(self, batch: Batch) -> tuple[dict[Located, Seen], dict[Draw, str]]:
        seen: dict[Located, Seen] = {}
        lost: dict[Draw, str] = {}
        for draw in batch.draws:
            source = draw.source
            if source in seen:
                continue
            try:
                pixels = source.native.pixels()
            except DecodeError:
                lost[draw] = "cannot be decoded"
                continue
            seen[source] = scene_of(source.native, pixels, self._network.size, self._spec)
        return seen, lost

    def _attempt(
        self,
        batch: Batch,
        draws: Sequence[Draw],
        seen: Mapping[Located, Seen],
        attempt: int,
        strengths: Mapping[Draw, float],
    ) -> Iterator[Made]:
        """Make draws once."""
        staged: list[Staged] = []
        for draw in draws:
            if self._donors is None:
                staged.append(_as_it_is(draw, seen[draw.source]))
                continue
            randoms = partial(generator, draw.seed, "transplant", draw.key, attempt)
            planted = self._donors.plant(draw.source, seen[draw.source], randoms, strengths[draw])
            if isinstance(planted, Refused):
                yield Made(draw, strengths[draw], planted.reason)
            else:
                staged.append(Staged(draw, planted.host, planted.seen, planted.rendered, planted))
        if not staged:
            return
        for item, verdicts in self._judge(self._rendered(batch, staged, attempt, strengths)):
            reason = next((v.reason for v in verdicts if not v.passed), None)
            yield Made(item.draw, strengths[item.draw], reason, item, verdicts)

    def _rendered(
        self,
        batch: Batch,
        staged: Sequence[Staged],
        attempt: int,
        strengths: Mapping[Draw, float],
    ) -> list[Staged]:
        """Render slices as their latents, drawn anew, decode."""
        if self._render is None:
            return list(staged)
        draws = [item.draw for item in staged]
        # The slices of a series move alike: generators of one key draw the same for all of them.
        keys = [draw.series_key if batch.whole else draw.key for draw in draws]
        randoms = [
            generator(draw.seed, "latent", key, attempt)
            for draw, key in zip(draws, keys, strict=True)
        ]
        own = self._space.of([item.base for item in staged])
        drawn = self._sampler.sample(own, [strengths[draw] for draw in draws], randoms)
        z = drawn.z
        if self._shift is not None:
            z = z + (self._shift.sample(own, [1.0] * len(staged), randoms).z - own.mu)
        scenes = [
            replace(item.seen.scene, values=item.rendered.values, labels=item.rendered.labels)
            for item in staged
        ]
        results = self._render.render(scenes, self._network.decode(own.mu), self._network.decode(z))
        return [
            replace(
                item,
                rendered=replace(new, numbers={**item.rendered.numbers, **new.numbers}),
                partner=None if partner is None else partner.key,
            )
            for item, new, partner in zip(staged, results, drawn.partners, strict=True)
        ]


def _as_it_is(draw: Draw, seen: Seen) -> Staged:
    return Staged(draw, draw.source, seen, Rendered(seen.scene.values, seen.scene.labels))


def _all_or_nothing(made: Mapping[Draw, Made]) -> dict[Draw, Made]:
    """Reject a whole series where one of its slices is rejected."""
    if all(one.reason is None for one in made.values()):
        return dict(made)
    return {
        draw: replace(one, reason=one.reason or "another slice of the series is rejected")
        for draw, one in made.items()
    }
