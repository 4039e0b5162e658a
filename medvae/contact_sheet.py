"""One HTML page that shows slices with their boxes, for visual review.

The page is self-contained: it loads nothing, runs no scripts, and names no files or patients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

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
    totals = Counter(f.category.name for one in series for s in one.slices for f in s.labels or ())
    colours = colours_of(totals)
    places = [(number, place) for number, one in enumerate(series) for place in _chosen(one, most)]
    figures: list[list[dict[str, Any]]] = [[] for _ in series]
    decoded = read_pixels((series[number].slices[place] for number, place in places), workers)
    for done, ((number, place), (native, pixels)) in enumerate(
        zip(places, decoded, strict=True), 1
    ):
        anchor = f"slice-{number + 1}-{place + 1}"
        figures[number].append(_figure(place + 1, anchor, native, pixels, colours))
        progress("Drawing slices", done, len(places), "")
    patients = _count(len({one.slices[0].group for one in series}), "patient")
    return render(
        "contact_sheet",
        title=title,
        summary=f"{patients}, {len(series)} series, {_counts(series, len(places))}",
        notes=notes,
        legend=[(colour, name, totals[name]) for name, colour in colours.items()],
        sections=[
            {
                "number": number,
                "name": f"Series {number}: {_modality(one.slices[0])}, "
                f"patient {one.slices[0].group[:8]}",
                "counts": _counts([one], len(shown)),
                "flags": one.flags,
                "figures": shown,
            }
            for number, (one, shown) in enumerate(zip(series, figures, strict=True), 1)
        ],
    )


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


def _counts(series: Sequence[Series], shown: int) -> str:
    labels = [native.labels for one in series for native in one.slices]
    counts = _count(len(labels), "slice")
    if shown < len(labels):
        counts += f" ({shown} of them shown)"
    counts += ", " + _count(sum(len(known) for known in labels if known is not None), "finding")
    unlabelled = labels.count(None)
    return f"{counts}, {unlabelled} not labelled" if unlabelled else counts


def _figure(
    number: int, anchor: str, native: Slice, pixels: Pixels | DecodeError, colours: dict[str, str]
) -> dict[str, Any]:
    """Return what the page shows of a slice: no picture if it cannot be decoded."""
    found, picture, key = "Cannot be decoded", None, native.key[:8]
    if not isinstance(pixels, DecodeError):
        spec = None
        if native.modality == "CT" and native.window is not None and native.window[1] > 0:
            spec = f"window:{native.window[0]},{native.window[1]}"
        image, canvas, _ = model_image(native, pixels, _THUMB, spec)
        found = _found(native.labels)
        alt = f"{_modality(native)} slice {key}: {found}"
        picture = SlicePicture.of(image, canvas, native.labels or (), colours, alt)
    about = _described(native)
    return {
        "number": number,
        "anchor": anchor,
        "found": found,
        "about": about,
        "key": key,
        "picture": picture,
    }


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
