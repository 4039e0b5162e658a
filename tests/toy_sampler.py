"""A sampler that tests register."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from medvae.latent import Latents, Sampler


class Onwards(Sampler):
    """A sampler that moves latents away from the origin."""

    name = "onwards"

    def offsets(
        self, sources: Latents, randoms: Sequence[np.random.Generator]
    ) -> Iterator[tuple[NDArray[np.float64], None]]:
        """Yield the latents themselves."""
        for own in sources.mu:
            yield own.double().numpy(), None
