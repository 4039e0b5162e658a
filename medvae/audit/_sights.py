"""Slices on a page: with their nearest real slices, findings or activation maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from medvae.audit._canvases import Canvases
from medvae.audit._copies import Copies
from medvae.audit._page import gallery
from medvae.audit._two_sample import Activation
from medvae.audit._verdict import said
from medvae.pages import SlicePicture, colours_of, found, part, png

__all__ = ["KIND_WORDS", "activations", "lost_findings", "worst_copies"]

KIND_WORDS = {
    "source": "a source that it declares",
    "series": "another slice of the series of its source",
    "patient": "another slice of a patient who is declared in it",
    "stranger": "a patient who is not declared in it: a copy",
}
"""Descriptions of the real slice near a synthetic one, by the kind of copy."""

_TILE = 96
_LOST = 12


def worst_copies(real: Canvases, synthetic: Canvases, copies: Copies) -> Markup:
    """Show the synthetic slices that are nearest to a real slice, beside that slice."""
    shown = []
    for row in copies.worst():
        nearest = int(copies.nearest[row])
        sights = [_sight(synthetic, row, "Synthetic"), _sight(real, nearest, "Nearest real")]
        kind = KIND_WORDS.get(copies.kind_of(row) or "", "not as near as a copy")
        distance = said(float(copies.nearness[row]))
        keys = Markup("{}, {}").format(_code(synthetic, row), _code(real, nearest))
        caption = Markup("<strong>{}</strong>: {} times the limit away; {}").format(
            kind, distance, keys
        )
        shown.append(part("strip", sights, caption))
    return gallery("pairs", shown)


def lost_findings(real: Canvases, synthetic: Canvases, keys: Sequence[str]) -> Markup:
    """Show slices with a lost finding, worst first, beside their source slices."""
    rows = {member.native.key: row for row, member in enumerate(synthetic.set.members)}
    sources = {member.native.key: row for row, member in enumerate(real.set.members)}
    shown = []
    for row in [rows[key] for key in keys if key in rows][:_LOST]:
        sights = [_sight(synthetic, row, "Synthetic")]
        first = next(iter(synthetic.set.members[row].sources or ()), None)
        if first in sources:
            sights.append(_sight(real, sources[first], "Source"))
        shown.append(part("strip", sights, _code(synthetic, row)))
    return gallery("pairs", shown)


def _code(side: Canvases, row: int) -> Markup:
    return Markup("<code>{}</code>").format(side.set.members[row].native.key[:8])


def _sight(side: Canvases, row: int, name: str) -> tuple[str, SlicePicture]:
    """Return a name and a picture of a slice with its findings."""
    findings = side.set.members[row].native.labels or ()
    image = np.asarray(side.pictures[row], dtype=np.float32) / np.float32(255)
    colours = colours_of(side.set.categories)
    alt = f"{name}: {found(findings)}"
    return name, SlicePicture.of(image, side.canvases[row], findings, colours, alt)


def activations(shown: Sequence[Activation]) -> Markup:
    """Show the activation maps of slices in both convolutions of the small network."""
    return gallery("figures", (_activation(one) for one in shown))


def _activation(one: Activation) -> Markup:
    name = "Synthetic" if one.synthetic else "Real"
    slice_itself = _small(one.picture, 2 * _TILE)
    whole = np.concatenate((slice_itself, _grid(one.first), _grid(one.second)), axis=1)
    caption = (
        f"{name} slice, the {len(one.first)} maps of the first convolution and the "
        f"{len(one.second)} of the second"
    )
    return part("drawing", png(whole), f"{name} slice and its activation maps", caption)


def _grid(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Arrange maps ``[N, side, side]`` in two rows, each scaled to [0, 1]."""
    tiles = [_small(_unit(each), _TILE) for each in maps]
    half = len(tiles) // 2
    rows = [np.concatenate(row, axis=1) for row in (tiles[:half], tiles[half:])]
    return np.concatenate(rows)


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale values by their maximum to [0, 1]; return zeros if none is positive."""
    most = np.float32(values.max())
    return values / most if most > 0 else np.zeros_like(values)


def _small(picture: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    image = Image.fromarray(np.ascontiguousarray(picture, dtype=np.float32))
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR)).clip(0, 1)
