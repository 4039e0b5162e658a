"""A lesion of a donor, prepared for insertion into other slices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medvae.records import Category, Finding, Labels
from medvae.render._contract import Scene
from medvae.render._ground import GRAIN, Frame, Ground, Levels, Window, region

FEWEST = 12
"""Minimum number of pixels of a lesion on a slice; with fewer it is too small to be seen."""

TOUCHING = np.ones((3, 3), dtype=np.int8)
"""Neighbourhood of a pixel: pixels that touch at a corner are one piece, as when masks are read."""

RING = (1.0, 4.0)
"""Distances, in grains from a donor's lesion, at which its surroundings begin and end."""

_MARGIN = 12
_FEWEST_AROUND = 10


@dataclass(frozen=True)
class Refused:
    """Refusal to insert a lesion into a slice.

    Attributes:
        reason: The reason, in a few words from a fixed set.
        strength: Strength of the attempt.
    """

    reason: str
    strength: float = 1.0


@dataclass(frozen=True)
class Surroundings:
    """The surroundings of a lesion.

    Attributes:
        level: Median level.
        noise: Standard deviation, estimated from the median absolute deviation.
    """

    level: float
    noise: float

    @classmethod
    def of(cls, levels: Sequence[NDArray[np.float32]], units: Levels) -> Surroundings | None:
        """Return the surroundings, given the levels around a lesion by slice; None if too few."""
        around = np.concatenate(levels)
        if len(around) < _FEWEST_AROUND:
            return None
        level = float(np.median(around))
        noise = 1.4826 * float(np.median(np.abs(around - level)))
        return cls(level, max(noise, units.least_noise))


@dataclass(frozen=True, eq=False)
class Section:
    """A lesion on one slice, and the pixels around it.

    Attributes:
        position: Position of the slice along the normal.
        distance: Distance of each pixel from the outline in canvas widths, negative inside.
        spline: Coefficients of the cubic spline through the values.
        findings: Number of findings that belong to the lesion on the slice.
        pieces: Number of pieces of which the lesion consists.
    """

    position: float
    distance: NDArray[np.float32]
    spline: NDArray[np.float32]
    findings: int
    pieces: int


@dataclass(frozen=True, eq=False)
class Lesion:
    """A lesion on the slices of a donor, with its immediate surroundings.

    Lengths are in widths of the donor's canvas, except those along the normal, which are in
    millimetres.

    Attributes:
        category: Category of the lesion.
        masked: Whether its outline is known; otherwise it is the ellipse in its box.
        frame: Frame of its slices.
        units: Units of its levels.
        sections: Sections of the lesion, one for each slice, in the order of their positions.
        gap: Distance from slice to slice.
        centre: Row and column of its centre in the sections.
        place: Location of its centre in standard orientation.
        position: Position of its centre along the normal.
        corners: Corners of the box around it, ``[4, 2]``, as (y, x) from its centre.
        radius: Radius of a circle with the area of its largest section.
        around: Surroundings of the lesion.
        contrast: Mean level of the lesion minus the level of its surroundings.
    """

    category: Category
    masked: bool
    frame: Frame
    units: Levels
    sections: tuple[Section, ...]
    gap: float
    centre: tuple[float, float]
    place: tuple[float, float]
    position: float
    corners: NDArray[np.float64]
    radius: float
    around: Surroundings
    contrast: float

    @classmethod
    def on(cls, scene: Scene, finding: int) -> Lesion | Refused:
        """Take one finding of one slice as the lesion.

        Args:
            scene: Slice of the donor.
            finding: Index of the finding in the labels.
        """
        return cls.through([scene], [[finding]], [0.0], 1.0)

    @classmethod
    def through(
        cls,
        scenes: Sequence[Scene],
        findings: Sequence[Sequence[int]],
        positions: Sequence[float],
        gap: float,
    ) -> Lesion | Refused:
        """Take a lesion that extends through slices of one series, as ``trace_lesions`` finds it.

        Args:
            scenes: Slices that show it, all of one shape, spacing and orientation.
            findings: Indices of the findings that belong to it, for each slice.
            positions: Positions of the slices along their normal in millimetres, all different.
            gap: Distance from slice to slice.
        """
        order = np.argsort(positions)
        donors = [_Donor.of(scenes[i], findings[i], float(positions[i])) for i in order]
        if any(donor.ground.frame != donors[0].ground.frame for donor in donors):
            raise ValueError("the slices of a lesion must have one shape, spacing and orientation")
        if max(donor.area for donor in donors) < FEWEST:
            return Refused("lesion too small")
        if any(_at_the_border(donor.mask) for donor in donors):
            return Refused("lesion cut by the border")
        return _prepared(donors, gap)

    @property
    def extent(self) -> tuple[float, float]:
        """The positions along the normal where it begins and ends: half a gap beyond its slices."""
        first, last = self.sections[0].position, self.sections[-1].position
        return first - self.gap / 2, last + self.gap / 2

    def near(self, position: float) -> list[tuple[Section, float]]:
        """Return the sections nearest to a position along the normal, with their weights."""
        places = [section.position for section in self.sections]
        after = int(np.searchsorted(places, position))
        if after in (0, len(places)):
            return [(self.sections[min(after, len(places) - 1)], 1.0)]
        share = (position - places[after - 1]) / (places[after] - places[after - 1])
        pairs = [(self.sections[after - 1], 1 - share), (self.sections[after], share)]
        return [(section, weight) for section, weight in pairs if weight > 0]

    def distance(self, position: float, places: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the distances of locations from the outline in canvas widths, negative inside.

        Between two slices, the distance is interpolated. Beyond the first and the last slice, the
        lesion rounds off and ends after half a gap.

        Args:
            position: Position along the normal.
            places: Rows and columns in the sections, ``[2, ...]``.
        """
        near = self.near(position)
        distance = np.zeros(places.shape[1:], dtype=np.float32)
        for section, weight in near:
            distance += np.float32(weight) * ndimage.map_coordinates(
                section.distance, places, order=1, mode="nearest"
            )
        beyond = max(self.sections[0].position - position, position - self.sections[-1].position)
        if beyond > 0:
            share = min(1.0, 2 * beyond / self.gap)
            distance -= np.float32(1 - math.sqrt(1 - share**2)) * near[0][0].distance.min()
        return distance

    def levels(
        self, position: float, places: NDArray[np.float64], step: tuple[float, float]
    ) -> NDArray[np.float32]:
        """Return the levels at locations, given as for ``distance``.

        Args:
            position: Position along the normal.
            places: Rows and columns in the sections, ``[2, ...]``.
            step: Rows and columns from one location to the next; where it is above 1, detail that
                is too fine to be shown is smoothed away.
        """
        blur = [math.sqrt(max(0.0, one**2 - 1)) / 2 for one in step]
        values = np.zeros(places.shape[1:], dtype=np.float32)
        for section, weight in self.near(position):
            spline = ndimage.gaussian_filter(section.spline, blur, mode="mirror")
            values += np.float32(weight) * ndimage.map_coordinates(
                spline, places, order=3, mode="mirror", prefilter=False
            )
        return self.units.of_values(values)


@dataclass(frozen=True, eq=False)
class _Donor:
    """A slice that shows a lesion, and the mask of the lesion."""

    ground: Ground
    findings: Sequence[int]
    position: float
    mask: NDArray[np.bool_]

    @classmethod
    def of(cls, scene: Scene, findings: Sequence[int], position: float) -> _Donor:
        rows, columns = scene.values.shape
        whole = (slice(0, rows), slice(0, columns))
        own = [region(scene.labels.findings[i], whole, ellipse=True) for i in findings]
        return cls(Ground.of(scene), findings, position, np.logical_or.reduce(own))

    @property
    def area(self) -> int:
        return int(self.mask.sum())

    def section(self, window: Window) -> Section:
        mask = self.mask[window]
        sides = self.ground.frame.sides
        outside, inside = (ndimage.distance_transform_edt(m, sides) for m in (~mask, mask))
        spline = ndimage.spline_filter(self.ground.scene.values[window], mode="mirror")
        pieces = ndimage.label(mask, TOUCHING)[1]
        return Section(
            self.position,
            (outside - inside).astype(np.float32),
            spline.astype(np.float32),
            len(self.findings),
            pieces,
        )

    def around(
        self, distance: NDArray[np.float32], grain: float, window: Window
    ) -> NDArray[np.bool_]:
        ring = (distance > RING[0] * grain) & (distance <= RING[1] * grain)
        ground = self.ground
        ring &= ~ground.taken(window, but=self.findings)
        return ring & ground.tissue(window, ring)


def _prepared(donors: Sequence[_Donor], gap: float) -> Lesion | Refused:
    """Prepare a lesion for insertion; the donors are in the order of their positions."""
    frame, areas = donors[0].ground.frame, np.array([donor.area for donor in donors])
    window, corners, centre = _outlined(donors)
    sections = tuple(donor.section(window) for donor in donors)
    radius = math.sqrt(int(areas.max()) * math.prod(frame.sides) / math.pi)
    grain = min(GRAIN, radius / 2)
    units = Levels.of([donor.ground.scene for donor in donors])
    levels = [units.of_values(donor.ground.scene.values[window]) for donor in donors]
    rings = [d.around(s.distance, grain, window) for d, s in zip(donors, sections, strict=True)]
    around = Surroundings.of([v[r] for v, r in zip(levels, rings, strict=True)], units)
    if around is None:
        return Refused("lesion without surroundings")
    own = np.concatenate([v[d.mask[window]] for v, d in zip(levels, donors, strict=True)])
    chosen = [d.ground.scene.labels.findings[i] for d in donors for i in d.findings]
    return Lesion(
        chosen[0].category,
        all(finding.mask is not None for finding in chosen),
        frame,
        units,
        sections,
        gap,
        (centre[0] - window[0].start, centre[1] - window[1].start),
        frame.place(*centre),
        float(np.average([donor.position for donor in donors], weights=areas)),
        corners,
        radius,
        around,
        float(own.mean(dtype=np.float64)) - around.level,
    )


def _outlined(
    donors: Sequence[_Donor],
) -> tuple[Window, NDArray[np.float64], tuple[float, float]]:
    """Return the window around the lesion, its corners, and the row and column of its centre."""
    frame = donors[0].ground.frame
    counts = np.sum([donor.mask for donor in donors], axis=0, dtype=np.int64)
    centre, sides, reaches = [], [], []
    for axis, (side, pixel) in enumerate(zip(frame.sides, frame.pixel, strict=True)):
        profile = counts.sum(axis=1 - axis)
        shown = np.flatnonzero(profile)
        middle = float(np.average(np.arange(len(profile)), weights=profile))
        margin = math.ceil(_MARGIN * GRAIN / side)
        sides.append(slice(max(0, shown[0] - margin), min(len(profile), shown[-1] + 1 + margin)))
        reaches.append([(edge - middle) * pixel for edge in (shown[0] - 0.5, shown[-1] + 0.5)])
        centre.append(middle)
    corners = np.array([(y, x) for y in reaches[0] for x in reaches[1]])
    return (sides[0], sides[1]), corners, (centre[0], centre[1])


def _at_the_border(mask: NDArray[np.bool_]) -> bool:
    return bool(mask[[0, -1]].any() or mask[:, [0, -1]].any())


def trace_lesions(labels: Sequence[Labels | None]) -> list[dict[int, tuple[int, ...]]]:
    """Trace lesions through a series: findings that overlap on neighbouring slices are one lesion.

    Args:
        labels: Labels of the slices, in order; None for a slice that has not been labelled.

    Returns:
        For each lesion, in the order in which they begin, the slices that show it and the indices
        of its findings there.
    """
    lesion_of: dict[tuple[int, int], int] = {}
    for number, known in enumerate(labels):
        for index, finding in enumerate(known or ()):
            before = labels[number - 1] if number else None
            touched = {
                lesion_of[number - 1, other]
                for other, earlier in enumerate(before or ())
                if _overlap(finding, earlier)
            }
            lesion_of[number, index] = min(touched, default=len(lesion_of))
            for place, lesion in lesion_of.items():
                if lesion in touched:
                    lesion_of[place] = lesion_of[number, index]
    traced: dict[int, dict[int, tuple[int, ...]]] = {}
    for (number, index), lesion in lesion_of.items():
        shown = traced.setdefault(lesion, {})
        shown[number] = (*shown.get(number, ()), index)
    return [traced[lesion] for lesion in sorted(traced)]


def _overlap(one: Finding, other: Finding) -> bool:
    if one.category != other.category:
        return False
    boxes = np.array([one.box, other.box])
    x0, y0 = np.floor(boxes[:, :2].max(axis=0)).astype(int)
    x1, y1 = np.ceil(boxes[:, 2:].min(axis=0)).astype(int)
    if x0 >= x1 or y0 >= y1:
        return False
    common = (slice(y0, y1), slice(x0, x1))
    return bool((region(one, common) & region(other, common)).any())
