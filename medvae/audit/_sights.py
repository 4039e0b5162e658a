"""Slices on a page: beside their nearest real ones, with their findings, as a network sees them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medvae.audit._canvases import Canvases
from medvae.audit._copies import Copies
from medvae.audit._page import gallery
from medvae.audit._two_sample import Activation
from medvae.audit._verdict import said
from medvae.overlays import COLOURS, drawn, png, safe

__all__ = ["KIND_WORDS", "activations", "lost_findings", "worst_copies"]

KIND_WORDS = {
    "source": "a source that it declares",
    "series": "another slice of the series of its source",
    "patient": "another slice of a patient who is declared in it",
    "stranger": "a patient who is not declared in it: a copy",
}
"""What the real slice that is near to a synthetic one is, for each of the kinds of copies."""

_TILE = 96
_LOST = 12


def worst_copies(real: Canvases, synthetic: Canvases, copies: Copies) -> str:
    """Show the slices that are nearest to a real one, beside it."""
    shown = []
    for row in copies.worst():
        nearest = int(copies.nearest[row])
        sights = _sight(synthetic, row, "Synthetic") + _sight(real, nearest, "Nearest real")
        kind = KIND_WORDS.get(copies.kind_of(row) or "", "not as near as a copy")
        distance = said(float(copies.nearness[row]))
        names = f"{_code(synthetic, row)}, {_code(real, nearest)}"
        caption = f"<strong>{kind}</strong>: {distance} times the limit away; {names}"
        shown.append(_strip(sights, caption))
    return gallery("pairs", shown)


def lost_findings(real: Canvases, synthetic: Canvases, keys: Sequence[str]) -> str:
    """Show slices with a finding that is gone, worst first, beside the slice it was taken from."""
    rows = {member.native.key: row for row, member in enumerate(synthetic.set.members)}
    sources = {member.native.key: row for row, member in enumerate(real.set.members)}
    shown = []
    for row in [rows[key] for key in keys if key in rows][:_LOST]:
        sights = _sight(synthetic, row, "Synthetic")
        first = next(iter(synthetic.set.members[row].sources or ()), None)
        if first in sources:
            sights += _sight(real, sources[first], "Source")
        shown.append(_strip(sights, _code(synthetic, row)))
    return gallery("pairs", shown)


def _strip(sights: str, caption: str) -> str:
    """Set slices beside one another; the caption is HTML."""
    return f'<figure><div class="strip">{sights}</div><figcaption>{caption}</figcaption></figure>\n'


def _code(side: Canvases, row: int) -> str:
    return f"<code>{side.set.members[row].native.key[:8]}</code>"


def _sight(side: Canvases, row: int, name: str) -> str:
    """Show a slice with its findings."""
    canvas = side.canvases[row]
    findings = side.set.members[row].native.labels or ()
    names = side.set.categories
    overlay = "".join(
        drawn(one, canvas, COLOURS[names.index(one.category.name) % len(COLOURS)])
        for one in findings
    )
    found = ", ".join(sorted({one.category.name for one in findings})) or "no finding"
    picture = np.asarray(side.pictures[row], dtype=np.float32) / np.float32(255)
    return (
        f'<div><div class="picture"><img src="{png(picture)}" alt="{safe(f"{name}: {found}")}">'
        f'<svg viewBox="0 0 {canvas.size} {canvas.size}" aria-hidden="true">{overlay}</svg></div>'
        f"{safe(name)}</div>"
    )


def activations(found: Sequence[Activation]) -> str:
    """Show what both convolutions of the small network make of slices."""
    return gallery("figures", (_activation(one) for one in found))


def _activation(one: Activation) -> str:
    name = "Synthetic" if one.synthetic else "Real"
    slice_itself = _small(one.picture, 2 * _TILE)
    whole = np.concatenate((slice_itself, _grid(one.first), _grid(one.second)), axis=1)
    return (
        f'<figure><img src="{png(whole)}" alt="{name} slice and its activation maps">'
        f"<figcaption>{name} slice, the {len(one.first)} maps of the first convolution and the "
        f"{len(one.second)} of the second</figcaption></figure>\n"
    )


def _grid(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Set maps ``[N, side, side]`` in two rows, each spread over [0, 1]."""
    tiles = [_small(_unit(each), _TILE) for each in maps]
    half = len(tiles) // 2
    rows = [np.concatenate(row, axis=1) for row in (tiles[:half], tiles[half:])]
    return np.concatenate(rows)


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Spread values from 0 to their greatest over [0, 1]; all 0 where there is none."""
    most = np.float32(values.max())
    return values / most if most > 0 else np.zeros_like(values)


def _small(picture: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    image = Image.fromarray(np.ascontiguousarray(picture, dtype=np.float32))
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR)).clip(0, 1)
