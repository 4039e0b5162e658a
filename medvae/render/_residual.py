"""The render `residual`: the slice plus the difference between two decoded images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from medvae.render._contract import Render, Rendered, Scene
from medvae.render._moving import possible


class Residual(Render):
    """A render that adds ``D(z') - D(z)`` at native size and units; labels stay where they are.

    It suits changes of contrast; changes of shape leave halos. Values that the intensity map had
    clipped are kept, and no value becomes lower than the lowest of the source.
    """

    name = "residual"
    preserves_locations = True

    def render(self, scenes: Sequence[Scene], before: Tensor, after: Tensor) -> list[Rendered]:
        """Render slices as the base class specifies."""
        changes = (after.float() - before.float()).cpu().numpy()[:, 0]
        rendered = []
        for scene, on_canvas in zip(scenes, changes, strict=True):
            change = scene.canvas.back(on_canvas)
            values = scene.intensity.restore(
                scene.values, np.zeros_like(change), change, scene.padding
            )
            rendered.append(Rendered(possible(values, scene), scene.labels))
        return rendered
