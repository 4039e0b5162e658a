"""The figures of a latent view."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from medvae.audit._figures import Drawing, clouds, densities, tiles
from medvae.audit._latents import LatentPicture
from medvae.audit._page import drawing, gallery

__all__ = ["LatentSight", "latent_gallery", "latent_sights"]


@dataclass(frozen=True, eq=False)
class LatentSight:
    """A figure of a latent view.

    Attributes:
        name: Name of its file, without a suffix.
        figure: The figure itself.
        alternative: Alternative text.
        caption: Text below the figure.
        wide: Whether it takes the full width of the page.
    """

    name: str
    figure: Drawing
    alternative: str
    caption: str
    wide: bool = False


def latent_sights(
    latent: LatentPicture, points: Mapping[str, Mapping[str, NDArray[np.float64]]]
) -> Iterator[LatentSight]:
    """Draw the distribution of units, the positions of slices, and decoded directions.

    Args:
        latent: The latent view.
        points: For each way to colour slices, their coordinates ``[N, K]`` by name.
    """
    view = latent.view
    heights = {"real" if view.synthetic else "slices": view.real.density}
    if view.synthetic is not None:
        heights["synthetic"] = view.synthetic.density
    yield LatentSight(
        "distribution",
        densities(view.edges, heights | {"N(0, 1)": view.normal}, "value of a latent unit"),
        "Distribution of all latent units beside N(0, 1)",
        "All units of all slices",
    )
    axes = [f"direction {n}: {100 * share:.1f} %" for n, share in enumerate(view.explained[:2], 1)]
    for way, named in points.items():
        if len(axes) == 2:
            yield LatentSight(
                f"scatter_{way}",
                clouds({name: found[:, :2] for name, found in named.items()}, *axes),
                f"Where slices lie along the first two directions, coloured by {way}",
                f"A point a slice, coloured by {way}; directions with their share of the variance",
            )
    names = [f"{step:+.0f} SD" if step else "mean" for step in view.steps]
    found = zip(latent.traversals, view.explained, view.scales, strict=False)
    for number, (pictures, share, scale) in enumerate(found, 1):
        steps = ", ".join(f"{step * scale:+.3g}" for step in view.steps)
        yield LatentSight(
            f"traversal_{number}",
            tiles(pictures, names),
            f"Decodes along direction {number}, from {names[0]} to {names[-1]}",
            f"Direction {number}, {100 * share:.1f} % of the variance; steps {steps}",
            wide=True,
        )


def latent_gallery(sights: Iterable[LatentSight]) -> Markup:
    """Return the figures for a page."""
    shown = [(one.wide, drawing(one.figure, one.alternative, one.caption)) for one in sights]
    narrow = gallery("figures", (html for wide, html in shown if not wide))
    return narrow + Markup("").join(html for wide, html in shown if wide)
