"""Copies: synthetic slices that show a patient whom they do not declare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from medvae.auditing._decoded import DecodedSet, Pool
from medvae.auditing._page import (
    ReportCell,
    formatted,
    is_measured,
    percentage,
    short_key,
    slice_picture,
)
from medvae.auditing._patients import difference, share
from medvae.auditing._statistic import AuditSettings, ComparedSets, Estimate
from medvae.neighbours import Neighbours
from medvae.pages import part

__all__ = [
    "KINDS",
    "Copies",
    "NearestReal",
    "as_json",
    "find_copies",
    "measure",
    "nearest_real",
    "section",
    "sentences",
]

Vectors = NDArray[np.float32]
Space = tuple[Vectors, Vectors]
"""Vectors of the real slices, ``[N, D]``, and of the synthetic ones, ``[M, D]``."""

KINDS = {
    "source": "a source that it declares",
    "series": "another slice of the series of its source",
    "patient": "another slice of a patient whom it declares",
    "undeclared": "a patient whom it does not declare: a copy",
}
"""Relations of a real slice to a synthetic one that is near it. Only the last kind is a leak."""

_KINDS = list(KINDS)
_UNDECLARED = _KINDS.index("undeclared")
_NOT_NEAR = len(KINDS)

_ENCODER = "encoder"
_PERCENTILE = 1
_SHARE_OF_DISTANCE = 0.5
_MANY = 12
_LEAST = 0.02
"""Chosen on FLAIR slices of glioma and on short-axis cardiac MR. In comparisons of sets of 3 to 31
patients with as many held-out patients, at least 97 % find no more than 1 % copies; all plain
copies are found, and nearly all slices that were warped gently."""


class NearestReal(NamedTuple):
    """The nearest real slice of each synthetic one in one space.

    Attributes:
        row: Index of the nearest real slice, ``[M]``.
        distance: Distance to the nearest real slice, ``[M]``.
        other_patient_distance: Distance from each real slice to the nearest one of another patient,
            ``[N]``; infinite where there is none.
        limit: Distance below which a slice is as near as a copy.
    """

    row: NDArray[np.intp]
    distance: NDArray[np.float64]
    other_patient_distance: NDArray[np.float64]
    limit: float


@dataclass(frozen=True, eq=False)
class Copies:
    """The synthetic slices that are as near to a real one as copies are, with their neighbours.

    Attributes:
        share: Share of slices that are copies: as near as that to a slice of an undeclared
            patient. Its baseline is the same share of real slices.
        excess: The share minus its baseline, with an interval over the patients of both sets.
        kind: Index in ``KINDS`` for each slice, or ``len(KINDS)`` where no real slice is near,
            ``[M]``.
        nearness: Distance to the slice that determines the kind, or else to the nearest one, as a
            share of the limit, ``[M]``; infinite for a blank slice.
        nearest: Index of that real slice, ``[M]``.
        keys, nearest_keys: Key of each slice, and of that real slice.
    """

    share: Estimate
    excess: Estimate
    kind: NDArray[np.intp]
    nearness: NDArray[np.float64]
    nearest: NDArray[np.intp]
    keys: tuple[str, ...]
    nearest_keys: tuple[str, ...]

    @property
    def copied(self) -> NDArray[np.bool_]:
        """Whether each slice is a copy, ``[M]``."""
        copied: NDArray[np.bool_] = self.kind == _UNDECLARED
        return copied

    @property
    def counts(self) -> dict[str, int]:
        """Number of slices of each kind."""
        return {name: int((self.kind == number).sum()) for number, name in enumerate(KINDS)}

    def kind_of(self, row: int) -> str | None:
        """Return the kind of a slice, or None if no real slice is near."""
        return None if self.kind[row] == _NOT_NEAR else _KINDS[self.kind[row]]

    def worst(self, count: int = 20) -> list[int]:
        """Return indices of synthetic slices: copies first, those near a declared source last.

        Within each group, the nearest slices come first.
        """
        order = np.lexsort((self.nearness, self.kind == 0, ~self.copied))
        return [int(row) for row in order[:count]]


def find_copies(
    spaces: Mapping[str, Space],
    real: Pool,
    synthetic: Pool,
    sources: Sequence[tuple[str, ...] | None],
    series: Sequence[str],
    seed: int,
    baseline: tuple[Copies, Pool] | None = None,
) -> Copies:
    """Find synthetic slices that are nearer to a real one than slices of different patients are.

    A slice below the limit of a space (see `nearest_real`) has the kind of its nearest real slice.
    If the spaces disagree, it has the first of these kinds in ``KINDS``: a slice that is near its
    declared source in one space is explained by that source. Blank slices resemble one another, and
    are left out of limits and shares.

    Args:
        spaces: Vectors of both sets by the name of the space.
        real, synthetic: The two sets.
        sources: Keys of the real slices that each synthetic one declares; None or empty if it
            declares none.
        series: Series of each real slice.
        seed: Random seed of the bootstrap.
        baseline: Copies that were found in the same way among the slices of another set; None to
            use the share of real slices that are below the limit of another patient.
    """
    found = {name: nearest_real(space, real, synthetic) for name, space in spaces.items()}
    nearness = np.stack([space.distance / space.limit for space in found.values()])
    nearness[:, ~synthetic.shown] = np.inf
    kinds = np.stack(
        [
            _relations(spaces[name], near, real, synthetic, sources, series)
            for name, near in found.items()
        ]
    )
    kinds[nearness >= 1] = _NOT_NEAR
    deciding, each = np.lexsort((nearness, kinds), axis=0)[0], np.arange(len(synthetic))
    kind = kinds[deciding, each]
    chosen = np.stack([space.row for space in found.values()])[deciding, each]
    if baseline is None:
        near = [one.other_patient_distance < one.limit for one in found.values()]
        known = _shown_only(np.any(near, axis=0), real)
    else:
        known = _shown_only(baseline[0].copied, baseline[1])
    copied = _shown_only(kind == _UNDECLARED, synthetic)
    return Copies(
        share=share(*copied, seed, float(known[0].mean())),
        excess=difference(*copied, *known, seed),
        kind=kind,
        nearness=nearness[deciding, each],
        nearest=chosen,
        keys=synthetic.keys,
        nearest_keys=tuple(real.keys[row] for row in chosen),
    )


def _shown_only(
    marks: NDArray[np.bool_], pool: Pool
) -> tuple[NDArray[np.bool_], list[tuple[str, ...]]]:
    """Return the marks and the patients of the slices that are not blank."""
    return marks[pool.shown], [pool.groups[row] for row in np.flatnonzero(pool.shown)]


def nearest_real(space: Space, real: Pool, synthetic: Pool) -> NearestReal:
    """Find the nearest real slice of each synthetic one in one space, and the limit for copies.

    The limit is computed from the real slices that are not blank: it is half of the distance by
    which 99 % of them are separated from the nearest slice of another patient. Hardly any real
    slice may be that near to another patient, or the limit would be meaningless. Fewer than 12
    patients say less about how near others would be, so the limit is reduced in proportion. It is
    at least 2 % of the median of that distance, so that patients who occur twice do not make it 0.

    Args:
        space: Vectors of the real slices, ``[N, D]``, and of the synthetic ones, ``[M, D]``.
        real, synthetic: The two sets.
    """
    patients = [groups[0] for groups in real.groups]
    neighbours = Neighbours(space[0], patients, real.keys)
    nearest = [(rows[0], distances[0]) for rows, distances in neighbours.search(space[1], 1)]
    to_others = neighbours.distances(space[0], groups=patients)
    distances = to_others[real.shown & np.isfinite(to_others)]
    limit = 0.0
    if len(distances):
        factor = _SHARE_OF_DISTANCE * min(1.0, len(set(patients)) / _MANY)
        limit = factor * float(np.percentile(distances, _PERCENTILE))
    apart = distances[distances > 0]
    # The median is used because a few slices far from all others must not raise the limit.
    usual = float(np.median(apart)) if len(apart) else float(np.sqrt(space[0].var(0).sum()))
    # If all slices lie at one point, no distance is meaningful.
    limit = max(limit, _LEAST * usual) or float(np.finfo(np.float64).tiny)
    row, distance = (np.array(column) for column in zip(*nearest, strict=True))
    return NearestReal(row, distance, to_others, limit)


def _distance(one: Vectors, other: Vectors) -> float:
    return float(np.sqrt(np.square(one.astype(np.float64) - other).sum()))


def _relations(
    space: Space,
    near: NearestReal,
    real: Pool,
    synthetic: Pool,
    sources: Sequence[tuple[str, ...] | None],
    series: Sequence[str],
) -> NDArray[np.intp]:
    """Return the relation of the nearest real slice to each synthetic one, ``[M]``."""
    rows = {key: row for row, key in enumerate(real.keys)}
    kinds = []
    for index, (row, distance) in enumerate(zip(near.row, near.distance, strict=True)):
        own = [rows[key] for key in sources[index] or () if key in rows]
        if any(_distance(space[1][index], space[0][source]) <= distance for source in own):
            kinds.append("source")
        elif series[row] in {series[source] for source in own}:
            kinds.append("series")
        elif real.groups[row][0] in synthetic.groups[index]:
            kinds.append("patient")
        else:
            kinds.append("undeclared")
    return np.array([_KINDS.index(kind) for kind in kinds], np.intp)


def measure(sets: ComparedSets, settings: AuditSettings) -> Copies:
    """Find copies by their outlines, and in the latent space if there is a model."""
    real, series = sets.real, [one.native.series for one in sets.real.set.slices]

    def copies_in(other: DecodedSet, baseline: tuple[Copies, Pool] | None = None) -> Copies:
        spaces = {"pixels": (real.pool.outlines, other.pool.outlines)}
        if _ENCODER in real.features:
            spaces[_ENCODER] = (real.features[_ENCODER], other.features[_ENCODER])
        sources = [one.sources for one in other.set.slices]
        pools = real.pool, other.pool
        return find_copies(spaces, *pools, sources, series, settings.seed, baseline)

    held_out = sets.held_out
    baseline = None if held_out is None else (copies_in(held_out), held_out.pool)
    return copies_in(sets.synthetic, baseline)


def as_json(result: Copies) -> dict[str, Any]:
    """Return the share of copies, the counts of all kinds, and the pairs that are nearest."""
    return {
        **vars(result.share),
        "excess": result.excess,
        "kinds": result.counts,
        "worst": [
            {
                "synthetic": result.keys[row],
                "real": result.nearest_keys[row],
                "nearness": result.nearness[row],
                "kind": result.kind_of(row),
            }
            for row in result.worst()
        ],
    }


def sentences(found: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield the share of copies among the synthetic and the real slices."""
    if found is None or not is_measured(found):
        return
    text = f"{percentage(found)} of its slices are copies of a patient whom they do not declare"
    if found["baseline"] is not None:
        text += f"; by the same measure, {100 * found['baseline']:.0f} % of the real slices are"
    yield f"{text}."


def section(result: Copies, sets: ComparedSets) -> Iterator[Markup]:
    """Yield the kinds of near slices, and the nearest pairs."""
    rows = [
        (text, ReportCell(str(result.counts[n]), f"copies.kinds.{n}")) for n, text in KINDS.items()
    ]
    caption = "Slices that are as near as a copy to a real slice"
    yield part("table", caption, ("the real slice is", "slices"), rows)
    yield part("heading", "Nearest to a real slice")
    pairs = [_pair(result, row, sets.real, sets.synthetic) for row in result.worst()]
    yield part("gallery", "pairs", pairs)


def _pair(copies: Copies, row: int, real: DecodedSet, synthetic: DecodedSet) -> Markup:
    """Show a synthetic slice next to the nearest real one."""
    other = int(copies.nearest[row])
    pictures = [
        slice_picture(synthetic, row, "Synthetic"),
        slice_picture(real, other, "Nearest real"),
    ]
    caption = Markup("<strong>{}</strong>: {} times the limit away; {}, {}").format(
        KINDS.get(copies.kind_of(row) or "", "not as near as a copy"),
        formatted(float(copies.nearness[row])),
        short_key(synthetic, row),
        short_key(real, other),
    )
    return part("strip", pictures, caption)
