"""Generation of synthetic slices by batch: draw, render, apply the gates, redraw what failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from torch import Tensor

from medvae.augmentation._judge import Judge
from medvae.augmentation._plan import Batch, Draw
from medvae.augmentation._scenes import Seen
from medvae.augmentation._sources import Located
from medvae.augmentation._space import Space
from medvae.augmentation._staged import Planter, Staged
from medvae.errors import DecodeError
from medvae.gates import Verdict
from medvae.latent import Latents, Partner, Sampler
from medvae.networks import Codec
from medvae.randomness import generator
from medvae.render import Refused, Render, Rendered, Scene

__all__ = ["Made", "Studio"]

_ATTEMPTS = 4
_GENTLER = 0.7
"""Factor on the strength when a rejected draw is redrawn; a copy is redrawn more strongly."""


@dataclass(frozen=True, eq=False)
class Made:
    """Result of one draw; for a whole lesion, one slice of the result.

    Attributes:
        draw: The draw.
        strength: Strength of the last attempt.
        reason: Reason for the rejection; None if the slice was kept.
        staged: The draft; None if there is none.
        verdicts: Verdicts of the gates.
    """

    draw: Draw
    strength: float
    reason: str | None
    staged: Staged | None = None
    verdicts: tuple[Verdict, ...] = ()

    @property
    def key(self) -> str:
        """The name of the synthetic slice."""
        return self.draw.key if self.staged is None else self.staged.key


class Studio:
    """Generator of the slices of batches; several threads may use it at once.

    Args:
        codec: Codec that encodes and decodes.
        spec: Intensity map of the model.
        space: Latents of sources and hosts.
        sampler: Sampler that draws new latents.
        shift: Sampler whose shift, ``[D]``, is added to new latents; None for no shift.
        render: Render guided by decoded latents; None where lesions are only transplanted.
        planter: Inserter of lesions into hosts; None if no lesions are transplanted.
        judge: Gates that decide which drafts are kept.
        strength: Strength of the first attempt.
    """

    def __init__(
        self,
        codec: Codec,
        spec: str | None,
        space: Space,
        sampler: Sampler,
        shift: Sampler | None,
        render: Render | None,
        planter: Planter | None,
        judge: Judge,
        strength: float,
    ) -> None:
        self._codec = codec
        self._spec = spec
        self._space = space
        self._sampler = sampler
        self._shift = shift
        self._render = render
        self._planter = planter
        self._judge = judge
        self._strength = strength

    def make(self, batch: Batch) -> list[Made]:
        """Return the results of a batch, including rejected draws and their reasons."""
        seen, lost = self._decoded(batch)
        made = {draw: [Made(draw, self._strength, why)] for draw, why in lost.items()}
        strengths = {draw: self._strength for draw in batch.draws if draw not in lost}
        for attempt in range(_ATTEMPTS):
            results = self._attempt(batch, seen, attempt, strengths)
            made |= {draw: [one for one in results if one.draw is draw] for draw in strengths}
            failed = [one for one in results if one.reason is not None]
            if not failed or self._strength == 0:
                break
            if batch.whole:
                strengths = dict.fromkeys(strengths, self._next(failed[0]))
            else:
                strengths = {one.draw: self._next(one) for one in failed}
        return [one for draw in batch.draws for one in made[draw]]

    def _next(self, rejected: Made) -> float:
        """Return the strength of the next attempt; for a copy, the last strength was too low."""
        if not (rejected.reason or "").startswith("copy"):
            return rejected.strength * _GENTLER
        if self._planter is not None:
            return rejected.strength
        return min(rejected.strength / _GENTLER, self._sampler.strongest)

    def _decoded(self, batch: Batch) -> tuple[dict[Located, Seen], dict[Draw, str]]:
        seen: dict[Located, Seen] = {}
        lost: dict[Draw, str] = {}
        for draw in batch.draws:
            for item in draw.decoded:
                if item in seen:
                    continue
                try:
                    pixels = item.native.pixels()
                except DecodeError as error:
                    lost[draw] = f"its source cannot be read again: {error.kind}"
                    continue
                seen[item] = Seen(
                    pixels, Scene.of(item.native, pixels, self._codec.size, self._spec)
                )
        return seen, lost

    def _attempt(
        self,
        batch: Batch,
        seen: Mapping[Located, Seen],
        attempt: int,
        strengths: Mapping[Draw, float],
    ) -> list[Made]:
        """Attempt each draw once; a series is kept or rejected as a whole."""
        made: list[Made] = []
        staged: list[Staged] = []
        for draw, strength in strengths.items():
            planted = self._planted(draw, seen, attempt, strength)
            if isinstance(planted, Refused):
                made.append(Made(draw, strength, planted.reason))
            else:
                staged += planted
        if staged:
            rendered = self._rendered(batch, staged, attempt, strengths)
            for item, verdicts, reason in self._judge(rendered, batch.whole):
                made.append(Made(item.draw, strengths[item.draw], reason, item, verdicts))
        return _all_or_nothing(made) if batch.whole else made

    def _planted(
        self, draw: Draw, seen: Mapping[Located, Seen], attempt: int, strength: float
    ) -> list[Staged] | Refused:
        """Insert the lesion of a draw into a host; without transplants, return its source."""
        if self._planter is not None:
            randoms = partial(generator, draw.seed, "transplant", draw.key, attempt)
            return self._planter.plant(draw, seen, randoms, strength)
        own = seen[draw.source]
        return [Staged(draw, draw.source, own, Rendered(own.scene.values, own.scene.labels))]

    def _rendered(
        self,
        batch: Batch,
        staged: Sequence[Staged],
        attempt: int,
        strengths: Mapping[Draw, float],
    ) -> Sequence[Staged]:
        """Render drafts, guided by newly drawn latents and what these decode to."""
        if self._render is None:
            return staged
        own = self._space.of([item.base for item in staged])
        keys = [item.series_key if batch.whole else item.draw.key for item in staged]
        randoms = [
            generator(item.draw.seed, "latent", key, attempt)
            for item, key in zip(staged, keys, strict=True)
        ]
        z, partners = self._drawn(
            own, [strengths[item.draw] for item in staged], randoms, batch.whole
        )
        if self._shift is not None:
            z = z + (self._shift.sample(own, [1.0] * len(staged), randoms).z - own.mu)
        scenes = [
            replace(item.seen.scene, values=item.rendered.values, labels=item.rendered.labels)
            for item in staged
        ]
        results = self._render.render(scenes, self._codec.decode(own.mu), self._codec.decode(z))
        return [
            replace(
                item,
                rendered=replace(new, numbers={**item.rendered.numbers, **new.numbers}),
                partner=None if partner is None else partner.key,
            )
            for item, new, partner in zip(staged, results, partners, strict=True)
        ]

    def _drawn(
        self,
        own: Latents,
        strengths: Sequence[float],
        randoms: Sequence[np.random.Generator],
        whole: bool,
    ) -> tuple[Tensor, Sequence[Partner | None]]:
        """Draw new latents ``[N, D]``; all slices of a series move as its middle slice does.

        If slices were drawn one by one, adjacent slices would not fit together.
        """
        if not whole:
            drawn = self._sampler.sample(own, strengths, randoms)
            return drawn.z, drawn.partners
        middle = own.take([len(own) // 2])
        drawn = self._sampler.sample(middle, strengths[:1], randoms[:1])
        return own.mu + (drawn.z - middle.mu), drawn.partners * len(own)


def _all_or_nothing(made: Sequence[Made]) -> list[Made]:
    """Reject a whole series if one of its slices is rejected."""
    if all(one.reason is None for one in made):
        return list(made)
    first = next(one.reason for one in made if one.reason is not None)
    others = f"another slice of the series is rejected: {first}"
    return [replace(one, reason=one.reason or others) for one in made]
