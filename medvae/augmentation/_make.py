"""The stage `make`: draw, render, apply the gates, redraw what failed, and write what is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from medvae.augmentation._encode import Encoded
from medvae.augmentation._inserters import Inserter
from medvae.augmentation._plan import Batch, Draw
from medvae.augmentation._preview import Preview
from medvae.augmentation._write import DraftWriter
from medvae.errors import DecodeError
from medvae.gates import Draft, Gates, Retry
from medvae.latent import Latents, Partner, Sampler
from medvae.manifest import ManifestLine
from medvae.models import TrainedModel
from medvae.networks import Codec
from medvae.randomness import generator
from medvae.records import Slice
from medvae.render import Refused, Render, Rendered, Scene

_ATTEMPTS = 4
_GENTLER = 0.7
"""Factor on the strength when a rejected draw is redrawn; a copy is redrawn more strongly."""


@dataclass(frozen=True, eq=False)
class Method:
    """How drafts are made.

    Attributes:
        sampler: Sampler that draws new latents; None if lesions are only transplanted.
        shift: Sampler whose shift, ``[D]``, is added to new latents; None for no shift.
        render: Render guided by decoded latents; None where lesions are only transplanted.
        inserter: Inserter of lesions into hosts; None if no lesions are transplanted.
        strength: Strength of the first attempt.
    """

    sampler: Sampler | None
    shift: Sampler | None
    render: Render | None
    inserter: Inserter | None
    strength: float


class MakeStage:
    """Stage that makes the slices of batches; several threads may use it at once.

    Args:
        model: Model on whose canvas slices are placed.
        codec: Fast copy of the model, which encodes and decodes.
        slices: Slices that draws need, by name.
        encoded: Latents of sources and hosts.
        method: How drafts are made.
        gates: Gates that decide which drafts are kept.
        writer: Writer of the drafts that are kept.
        preview: Preview page, for which some of them are collected.
    """

    def __init__(
        self,
        model: TrainedModel,
        codec: Codec,
        slices: Mapping[str, Slice],
        encoded: Encoded,
        method: Method,
        gates: Gates,
        writer: DraftWriter,
        preview: Preview,
    ) -> None:
        self._model, self._codec = model, codec
        self._slices, self._encoded = slices, encoded
        self._method, self._gates = method, gates
        self._writer, self._preview = writer, preview

    def __call__(self, batch: Batch) -> list[ManifestLine]:
        """Make and write a batch, and return its manifest lines."""
        made = self.made(batch)
        lines = self._writer.write(batch, made)
        self._preview.collect(made)
        return lines

    def made(self, batch: Batch) -> list[tuple[Draw, Draft | Refused]]:
        """Return the last attempt at each draw, including rejected drafts and their reasons."""
        scenes, lost = self._decoded(batch)
        pictures: dict[str, Tensor] = {}
        made: dict[Draw, list[Draft | Refused]] = {draw: [why] for draw, why in lost.items()}
        strengths = {draw: self._method.strength for draw in batch.draws if draw not in lost}
        for attempt in range(_ATTEMPTS):
            results = self._attempt(batch, scenes, pictures, attempt, strengths)
            made |= {draw: [one for own, one in results if own is draw] for draw in strengths}
            failed = [(draw, one) for draw, one in results if one.reason is not None]
            if not failed or self._method.strength == 0:
                break
            if batch.in_series:
                strengths = dict.fromkeys(strengths, self._next(failed[0][1]))
            else:
                strengths = {draw: self._next(one) for draw, one in failed}
        return [(draw, one) for draw in batch.draws for one in made[draw]]

    def _next(self, failed: Draft | Refused) -> float:
        """Return the strength of the next attempt after one that failed."""
        retry = Retry.WEAKER if isinstance(failed, Refused) else failed.retry
        match retry:
            case Retry.OTHER_HOST:
                return failed.strength
            case Retry.STRONGER:
                sampler = self._method.sampler
                strongest = math.inf if sampler is None else sampler.strongest
                return min(failed.strength / _GENTLER, strongest)
            case Retry.WEAKER:
                return failed.strength * _GENTLER

    def _decoded(self, batch: Batch) -> tuple[dict[str, Scene], dict[Draw, Refused]]:
        """Return the decoded slices that a batch needs, and the draws for which one is missing."""
        scenes: dict[str, Scene] = {}
        lost: dict[Draw, Refused] = {}
        for draw in batch.draws:
            for name in draw.needed:
                if name in scenes:
                    continue
                native = self._slices[name]
                try:
                    scenes[name] = self._model.scene(native, native.pixels())
                except DecodeError as error:
                    why = f"its source cannot be read again: {error.kind}"
                    lost[draw] = Refused(why, self._method.strength)
        return scenes, lost

    def _attempt(
        self,
        batch: Batch,
        scenes: Mapping[str, Scene],
        pictures: dict[str, Tensor],
        attempt: int,
        strengths: Mapping[Draw, float],
    ) -> list[tuple[Draw, Draft | Refused]]:
        """Attempt each draw once; a series is kept or rejected as a whole."""
        results: list[tuple[Draw, Draft | Refused]] = []
        draws: list[Draw] = []
        drafts: list[Draft] = []
        for draw, strength in strengths.items():
            begun = self._begun(draw, scenes, attempt, strength)
            if isinstance(begun, Refused):
                results.append((draw, begun))
            else:
                draws += [draw] * len(begun)
                drafts += begun
        if drafts:
            rendered = self._rendered(batch, draws, drafts, pictures, attempt)
            decided = self._gates.decide(self._encoded_again(rendered), batch.in_series)
            results += zip(draws, decided, strict=True)
        return _all_or_nothing(results) if batch.in_series else results

    def _begun(
        self, draw: Draw, scenes: Mapping[str, Scene], attempt: int, strength: float
    ) -> list[Draft] | Refused:
        """Insert the lesion of a draw into a host; without transplants, return its source."""
        if self._method.inserter is None:
            scene = scenes[draw.source]
            unchanged = Rendered(scene.values, scene.labels)
            return [Draft(scene, unchanged, key=draw.key, strength=strength)]
        randoms = partial(generator, draw.seed, "transplant", draw.key, attempt)
        inserted = self._method.inserter.insert(draw, scenes, randoms, strength)
        if isinstance(inserted, Refused):
            return Refused(inserted.reason, strength)
        return [replace(draft, strength=strength) for draft in inserted]

    def _encoded_again(self, drafts: Sequence[Draft]) -> list[Draft]:
        """Return drafts with their latents, except for unchanged slices of a host."""
        changed = [draft for draft in drafts if not draft.unchanged]
        if not changed:
            return list(drafts)
        mu, _ = self._codec.encode([draft.picture for draft in changed])
        latents = iter(mu)
        return [draft if draft.unchanged else draft.encoded(next(latents)) for draft in drafts]

    def _rendered(
        self,
        batch: Batch,
        draws: Sequence[Draw],
        drafts: list[Draft],
        pictures: dict[str, Tensor],
        attempt: int,
    ) -> list[Draft]:
        """Render drafts, guided by newly drawn latents and what these decode to."""
        render, sampler, shift = self._method.render, self._method.sampler, self._method.shift
        if render is None or sampler is None:
            return drafts
        sources = [draft.scene.slice for draft in drafts]
        own = self._encoded.of(sources)
        keys = [
            draw.series_of(draft.scene.slice) if batch.in_series else draw.key
            for draw, draft in zip(draws, drafts, strict=True)
        ]
        randoms = [
            generator(draw.seed, "latent", key, attempt)
            for draw, key in zip(draws, keys, strict=True)
        ]
        strengths = [draft.strength for draft in drafts]
        z, partners = _drawn(sampler, own, strengths, randoms, batch.in_series)
        if shift is not None:
            z = z + (shift.sample(own, [1.0] * len(drafts), randoms).z - own.mu)
        scenes = [draft.scene.changed(draft.rendered) for draft in drafts]
        before = self._decoded_once(sources, pictures)
        results = render.render(scenes, before, self._codec.decode(z))
        return [
            replace(
                draft,
                rendered=replace(new, numbers={**draft.rendered.numbers, **new.numbers}),
                partner=None if partner is None else partner.key,
            )
            for draft, new, partner in zip(drafts, results, partners, strict=True)
        ]

    def _decoded_once(self, slices: Sequence[Slice], pictures: dict[str, Tensor]) -> Tensor:
        """Return what the latents of slices decode to, ``[N, 1, size, size]``.

        The same slices serve for several copies and attempts, and ``pictures`` keeps what is
        decoded.
        """
        missing = {native.name: native for native in slices if native.name not in pictures}
        if missing:
            decoded = self._codec.decode(self._encoded.of(list(missing.values())).mu)
            pictures |= zip(missing, decoded, strict=True)
        return torch.stack([pictures[native.name] for native in slices])


def _drawn(
    sampler: Sampler,
    own: Latents,
    strengths: Sequence[float],
    randoms: Sequence[np.random.Generator],
    in_series: bool,
) -> tuple[Tensor, Sequence[Partner | None]]:
    """Draw new latents ``[N, D]``; all slices of a series move as its middle slice does.

    If slices were drawn one by one, adjacent slices would not fit together.
    """
    if not in_series:
        drawn = sampler.sample(own, strengths, randoms)
        return drawn.z, drawn.partners
    middle = own.take([len(own) // 2])
    drawn = sampler.sample(middle, strengths[:1], randoms[:1])
    return own.mu + (drawn.z - middle.mu), drawn.partners * len(own)


def _all_or_nothing(
    results: Sequence[tuple[Draw, Draft | Refused]],
) -> list[tuple[Draw, Draft | Refused]]:
    """Reject a whole series if one of its slices is rejected."""
    first = next((one.reason for _, one in results if one.reason is not None), None)
    if first is None:
        return list(results)
    others = f"another slice of the series is rejected: {first}"
    return [(draw, replace(one, reason=one.reason or others)) for draw, one in results]
