"""The gate `plausibility`: a candidate must lie near training slices in the latent space."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medvae.gates._crowd import Crowd
from medvae.latent import LatentStatistics

__all__ = ["TrainingLatents"]

_NEAREST = 5
_HELD_OUT = 2000


class TrainingLatents:
    """The latents of a training set, with the remoteness of other latents from them.

    Remoteness is the mean distance to the 5 nearest latents, divided by the spread of the set, the
    square root of its total variance.

    Args:
        statistics: Statistics of the training set, whose latents must not all coincide.
    """

    def __init__(self, statistics: LatentStatistics) -> None:
        self._statistics = statistics
        self._crowd = Crowd(statistics.mu.numpy(), statistics.groups)
        self._spread = float(statistics.factor.double().square().sum().sqrt())

    def remoteness(self, mu: Sequence[Tensor]) -> list[float]:
        """Return the remoteness of latents, given as posterior means of any shape."""
        queries = torch.stack([z.detach().flatten().to("cpu", torch.float32) for z in mu])
        distances = self._crowd.distances(queries.numpy(), _NEAREST)
        return [distance / self._spread for distance in distances]

    def held_out(self) -> list[float]:
        """Return the remoteness of slices of the set from the slices of other patients.

        At most 2000 slices are used, spread evenly over their sorted keys.
        """
        keys, groups = self._statistics.keys, self._statistics.groups
        if len(set(groups)) < 2:
            return []
        order = sorted(range(len(keys)), key=keys.__getitem__)
        chosen = order[:: -(-len(order) // _HELD_OUT)]
        mu = self._statistics.mu.numpy()[chosen]
        distances = self._crowd.distances(mu, _NEAREST, [groups[row] for row in chosen])
        return [distance / self._spread for distance in distances]
