"""One HTML page that shows slices with their boxes, for visual review.

The page is self-contained: it loads nothing, runs no scripts, and names no files or patients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from medvae.errors import DecodeError
from medvae.intensity import model_image
from medvae.pages import SlicePicture, colours_of, render
from medvae.progress import Progress, ignore_progress
from medvae.readers import read_pixels
from medvae.records import Labels, Pixels, Series, Slice, Study

__all__ = ["MOST", "contact_sheet"]

MOST = 12
"""Default maximum number of slices shown per series."""

_THUMB = 256
_TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True)
class _Figure:
    """One slice on the page; it has no picture if it cannot be decoded."""

    number: int
    anchor: str
    found: str
    about: str
    key: str
    picture: SlicePicture | None


@dataclass
class _SeriesSection:
    """The part of the page that shows one series."""

    number: int
    series: Series
    figures: list[_Figure] = field(default_factory=list)

    @property
    def name(self) -> str:
        first = self.series.slices[0]
        return f"Series {self.number}: {_modality(first)}, patient {first.group[:8]}"

    @property
    def counts(self) -> str:
        return _counts([self])


def contact_sheet(
    studies: Iterable[Study],
    title: str,
    notes: Sequence[str] = (),
    *,
    most: int = MOST,
    workers: int | None = None,
    progress: Progress = ignore_progress,
) -> str:
    """Return the page; only the thumbnails are kept in memory.

    Slices are shown by series, in standard orientation and physical proportions, as the model
    sees them. CT slices are shown in the window that the file proposes, if there is one.

    Args:
        studies: Studies to show.
        title: Title of the page.
        notes: Notes for the reader, one sentence each.
        most: Maximum number of slices shown per series. Slices with findings take precedence;
            the others are spread evenly.
        workers: Number of decoding processes; by default, those already running.
        progress: Called with (stage, done, total, note) as slices are drawn.

    Returns:
        The page as HTML.
    """
    series = [series for study in studies for series in study.series]
    sections = [_SeriesSection(number, one) for number, one in enumerate(series, 1)]
    names = (f.category.name for labels in _labels(sections) for f in labels or ())
    colours = colours_of(dict.fromkeys(names))
    places = [(section, place) for section in sections for place in _chosen(section.series, most)]
    slices = (section.series.slices[place] for section, place in places)
    decoded = read_pixels(slices, workers)
    for done, ((section, place), (native, pixels)) in enumerate(
        zip(places, decoded, strict=True), 1
    ):
        section.figures.append(_figure((section.number, place + 1), native, pixels, colours))
        progress("Drawing slices", done, len(places), "")
    return _page(title, notes, sections, colours)


def _chosen(series: Series, most: int) -> list[int]:
    """Return the indices of the slices to show, in order."""
    everything = range(len(series.slices))
    positive = [i for i in everything if series.slices[i].labels]
    others = [i for i in everything if not series.slices[i].labels]
    kept = _spread(positive, most)
    return sorted(kept + _spread(others, most - len(kept)))


def _spread(places: Sequence[int], most: int) -> list[int]:
    """Return at most ``most`` of the indices, evenly spaced."""
    count = min(len(places), most)
    return [places[(2 * i + 1) * len(places) // (2 * count)] for i in range(count)]


def _page(
    title: str, notes: Sequence[str], sections: Sequence[_SeriesSection], colours: dict[str, str]
) -> str:
    patients = _count(len({s.series.slices[0].group for s in sections}), "patient")
    totals = Counter(f.category.name for labels in _labels(sections) for f in labels or ())
    return render(
        "contact_sheet",
        title=title,
        summary=f"{patients}, {len(sections)} series, {_counts(sections)}",
        notes=notes,
        legend=[(colour, name, totals[name]) for name, colour in colours.items()],
        sections=sections,
    )


def _labels(sections: Iterable[_SeriesSection]) -> list[Labels | None]:
    return [native.labels for section in sections for native in section.series.slices]


def _counts(sections: Sequence[_SeriesSection]) -> str:
    labels = _labels(sections)
    shown = sum(len(section.figures) for section in sections)
    counts = _count(len(labels), "slice")
    if shown < len(labels):
        counts += f" ({shown} of them shown)"
    counts += ", " + _count(sum(len(known) for known in labels if known is not None), "finding")
    unlabelled = labels.count(None)
    return f"{counts}, {unlabelled} not labelled" if unlabelled else counts


def _figure(
    place: tuple[int, int],
    native: Slice,
    pixels: Pixels | DecodeError,
    colours: dict[str, str],
) -> _Figure:
    """Return one slice for the page; ``place`` is its series number and its own in the series."""
    anchor, key = "slice-{}-{}".format(*place), native.key[:8]
    about = _described(native)
    if isinstance(pixels, DecodeError):
        return _Figure(place[1], anchor, "Cannot be decoded", about, key, None)
    spec = None
    if native.modality == "CT" and native.window is not None and native.window[1] > 0:
        spec = f"window:{native.window[0]},{native.window[1]}"
    image, canvas, _ = model_image(native, pixels, _THUMB, spec)
    found = _found(native.labels)
    alt = f"{_modality(native)} slice {key}: {found}"
    picture = SlicePicture.of(image, canvas, native.labels or (), colours, alt)
    return _Figure(place[1], anchor, found, about, key, picture)


def _found(labels: Labels | None) -> str:
    if labels is None:
        return "Not labelled"
    if not len(labels):
        return "No findings"
    totals = Counter(finding.category.name for finding in labels)
    names = ", ".join(f"{name} ({n})" if n > 1 else name for name, n in totals.items())
    return f"{_count(len(labels), 'finding')}: {names}"


def _described(native: Slice) -> str:
    """Return the modality, shape, spacing and position of a slice as text."""
    rows, columns = native.shape
    parts = [_modality(native), f"{rows} {_TIMES} {columns} pixels"]
    geometry = native.geometry
    if geometry.spacing is None:
        parts.append("spacing unknown")
    else:
        parts.append(f"{geometry.spacing[0]:.3g} {_TIMES} {geometry.spacing[1]:.3g} mm")
    if geometry.normal is not None and geometry.position is not None:
        place = float(np.dot(geometry.normal, geometry.position))
        parts.append(f"at {place:.1f} mm".replace("-", "\N{MINUS SIGN}"))
    return ", ".join(parts)


def _modality(native: Slice) -> str:
    return native.modality or "unknown modality"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
