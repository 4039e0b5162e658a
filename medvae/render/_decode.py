"""The render `decode`: what the model makes of the new latent, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from medvae.render._contract import Render, Rendered, Scene

__all__ = ["Decode"]


class Decode(Render):
    """Shows ``D(z')`` at native size and units: the published method.

    Of the slice nothing is left but its padding and its labels, which are taken to hold for the
    decoded picture too. The reconstruction of a slice is not the slice: even an unchanged latent
    gives another picture here.
    """

    name = "decode"
    preserves_locations = True

    def render(self, scenes: Sequence[Scene], before: Tensor, after: Tensor) -> list[Rendered]:
        """Render slices as the contract says, but for what it says of unchanged latents."""
        rendered = []
        for scene, on_canvas in zip(scenes, after.float().cpu().numpy()[:, 0], strict=True):
            values = scene.intensity.from_model(scene.canvas.back(on_canvas))
            if scene.padding is not None:
                values = np.where(scene.padding, scene.values, values)
            rendered.append(Rendered(values, scene.labels))
        return rendered
