"""The render `decode`: the decoded image of the new latent, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from medvae.render._contract import Render, Rendered, Scene


class Decode(Render):
    """A render that shows ``D(z')`` at native size and units: the published method.

    Nothing of the slice is kept except its padding and its labels, which are assumed to hold for
    the decoded image too. The reconstruction of a slice is not the slice: here, even an unchanged
    latent gives a different image.
    """

    name = "decode"
    preserves_locations = True

    def render(self, scenes: Sequence[Scene], before: Tensor, after: Tensor) -> list[Rendered]:
        """Render slices as the base class specifies, except where a latent is unchanged."""
        rendered = []
        for scene, on_canvas in zip(scenes, after.float().cpu().numpy()[:, 0], strict=True):
            values = scene.intensity.from_model(scene.canvas.back(on_canvas))
            if scene.padding is not None:
                values = np.where(scene.padding, scene.values, values)
            rendered.append(Rendered(values, scene.labels))
        return rendered
