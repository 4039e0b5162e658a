"""The gate `plausibility`: a draft must lie near training slices in the latent space."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch

from medvae.gates._draft import Draft, Verdict
from medvae.gates._gate import Gate, Limit, Reference
from medvae.latent import LatentStatistics
from medvae.neighbours import Neighbours

_NEAREST = 5
_HELD_OUT = 2000


class PlausibilityGate(Gate):
    """Gate on the remoteness of a draft from the training slices of the model.

    Remoteness is the mean distance to the 5 nearest latents, divided by the spread of the set, the
    square root of its total variance. If all latents coincide, it is meaningless, and there is no
    verdict.

    Its limit is ``remoteness``: 99 % of the training slices are nearer to those of other patients.
    The default is about the distance between two of them drawn at random.
    """

    name = "plausibility"
    limits: ClassVar[Mapping[str, Limit]] = {"remoteness": Limit(math.sqrt(2), 99, 0.0)}
    by_median = frozenset(("remoteness",))

    def __init__(self, reference: Reference) -> None:
        super().__init__(reference)
        self._spread = 0.0
        if reference.latents is not None:
            self._spread = _spread(reference.latents)
            self._known = Neighbours(reference.latents.mu.numpy())

    @classmethod
    def learn(cls, latents: LatentStatistics) -> Iterator[tuple[str, float]]:
        """Yield the remoteness of slices of the set from the slices of other patients.

        At most 2000 slices are used, spread evenly over their sorted keys.
        """
        keys, groups, spread = latents.keys, latents.groups, _spread(latents)
        if len(set(groups)) < 2 or not spread:
            return
        order = sorted(range(len(keys)), key=keys.__getitem__)
        chosen = order[:: -(-len(order) // _HELD_OUT)]
        known = Neighbours(latents.mu.numpy(), groups)
        own = [groups[row] for row in chosen]
        for distance in known.distances(latents.mu.numpy()[chosen], _NEAREST, own):
            yield "remoteness", float(distance) / spread

    def judge(self, draft: Draft) -> Iterator[Verdict]:
        """Judge a draft that was encoded."""
        if draft.mu is None or not self._spread:
            return
        query = draft.mu.detach().flatten().to("cpu", torch.float32).numpy()
        (distance,) = self._known.distances(query[None], _NEAREST)
        yield Verdict(
            self.name,
            "remoteness",
            float(distance) / self._spread,
            high=self.reference.limits["remoteness"],
        )


def _spread(latents: LatentStatistics) -> float:
    return float(latents.factor.double().square().sum().sqrt())
