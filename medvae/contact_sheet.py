"""One HTML page that shows slices with their boxes, for a person to look through.

The page stands alone: it loads nothing, runs nothing, and names neither files nor patients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from medvae.errors import DecodeError
from medvae.intensity import model_image
from medvae.overlays import COLOURS, drawn, head, png, safe
from medvae.readers import read_pixels
from medvae.records import Labels, Pixels, Series, Slice, Study

__all__ = ["MOST", "contact_sheet"]

MOST = 12
"""So many slices of a series are shown where nobody says otherwise."""

_THUMB = 256


_STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --quiet: #57606a; --page: #fff; --line: #d0d7de }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6edf3; --quiet: #9aa4af; --page: #0d1117; --line: #30363d }
}
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 90rem; padding: 1.5rem; color: var(--text);
  background: var(--page); font: 15px/1.45 system-ui, sans-serif }
h1 { margin: 0 0 .25rem; font-size: 1.6rem }
h2 { margin: 2rem 0 .75rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line);
  font-size: 1.1rem }
h2 small, .summary, figcaption { color: var(--quiet); font-weight: normal }
p, ul { margin: .4rem 0 }
a { color: inherit }
:focus-visible { outline: 3px solid #2f81f7; outline-offset: 2px }
.legend, .flags, nav ul { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; padding: 0;
  list-style: none }
.legend svg { width: .8em; height: .8em }
.slices { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: 1rem }
figure { margin: 0; break-inside: avoid }
figcaption { padding-top: .3rem; font-size: .8rem; overflow-wrap: anywhere }
figcaption strong { display: block; color: var(--text); font-size: .9rem }
.picture { display: block; position: relative; background: #000 }
.picture img { display: block; width: 100%; height: auto }
.picture svg { position: absolute; inset: 0; width: 100%; height: 100% }
svg { fill: none; stroke-width: 1.5 }
svg * { vector-effect: non-scaling-stroke; pointer-events: all }
@media (min-width: 34rem) { figure:target { grid-column: span 2; grid-row: span 2 } }
@media print {
  :root { --text: #000; --quiet: #444; --page: #fff; --line: #999 }
  body { padding: 0; print-color-adjust: exact; -webkit-print-color-adjust: exact }
  nav { display: none }
  h2 { break-after: avoid }
  .slices { grid-template-columns: repeat(4, 1fr) }
}
"""


@dataclass
class _Section:
    """The part of the page that shows one series."""

    number: int
    series: Series
    figures: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        first = self.series.slices[0]
        return f"Series {self.number}: {_modality(first)}, patient {first.group[:8]}"

    @property
    def html(self) -> str:
        counts = _counts([self])
        return (
            f'<section><h2 id="series-{self.number}">{safe(self.name)} <small>{counts}</small>'
            f"</h2>\n{_list('flags', [safe(flag) for flag in self.series.flags])}"
            f'<div class="slices">\n{"".join(self.figures)}</div></section>\n'
        )


def contact_sheet(
    studies: Iterable[Study],
    title: str,
    notes: Sequence[str] = (),
    *,
    most: int = MOST,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Make the page; only the small pictures stay in memory.

    Slices are shown by series, in standard orientation and physical proportions, as the model
    sees them; CT in the window that the file proposes, if it does.

    Args:
        studies: what to show.
        title: of the page.
        notes: what the reader should know, a sentence each.
        most: how many slices of a series are shown; of more, those with findings come first, and
            the others are spread evenly.
        workers: how many processes decode; those already running by default.
        progress: is told how many of the slices are done.

    Returns:
        The HTML.
    """
    series = [series for study in studies for series in study.series]
    sections = [_Section(number, one) for number, one in enumerate(series, 1)]
    colours = _colours(sections)
    places = [(section, place) for section in sections for place in _chosen(section.series, most)]
    slices = (section.series.slices[place] for section, place in places)
    decoded = read_pixels(slices, workers)
    for done, ((section, place), (native, pixels)) in enumerate(
        zip(places, decoded, strict=True), 1
    ):
        section.figures.append(_figure((section.number, place + 1), native, pixels, colours))
        if progress is not None:
            progress(done, len(places))
    return _page(title, notes, sections, colours)


def _chosen(series: Series, most: int) -> list[int]:
    """Choose the places of the slices to show, in order."""
    everything = range(len(series.slices))
    positive = [i for i in everything if series.slices[i].labels]
    others = [i for i in everything if not series.slices[i].labels]
    kept = _spread(positive, most)
    return sorted(kept + _spread(others, most - len(kept)))


def _spread(places: Sequence[int], most: int) -> list[int]:
    """Choose so many places at most, evenly."""
    count = min(len(places), most)
    return [places[(2 * i + 1) * len(places) // (2 * count)] for i in range(count)]


def _colours(sections: Iterable[_Section]) -> dict[str, str]:
    """Give each category its colour, in the order in which they are met."""
    names = dict.fromkeys(
        finding.category.name
        for section in sections
        for native in section.series.slices
        for finding in native.labels or ()
    )
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}


def _page(
    title: str, notes: Sequence[str], sections: Sequence[_Section], colours: dict[str, str]
) -> str:
    links = "".join(f'<li><a href="#series-{s.number}">{safe(s.name)}</a></li>' for s in sections)
    contents = f"<details><summary>All series</summary><ul>{links}</ul></details>"
    nav = f'<nav aria-label="Series">{contents}</nav>' if len(sections) > 1 else ""
    patients = _count(len({s.series.slices[0].group for s in sections}), "patient")
    return f"""{head(title, _STYLE)}
<body>
<header>
<h1>{safe(title)}</h1>
<p class="summary">{patients}, {len(sections)} series, {_counts(sections)}</p>
{_list("notes", [safe(note) for note in notes])}
{_list("legend", _legend(sections, colours))}
{nav}
</header>
<main>
{"".join(section.html for section in sections)}</main>
</body>
</html>
"""


def _legend(sections: Sequence[_Section], colours: dict[str, str]) -> list[str]:
    totals = Counter(f.category.name for labels in _labels(sections) for f in labels or ())
    return [
        '<svg viewBox="0 0 1 1" aria-hidden="true">'
        f'<path d="M0 0h1v1h-1z" fill="{colour}"/></svg> {safe(name)} ({totals[name]})'
        for name, colour in colours.items()
    ]


def _labels(sections: Iterable[_Section]) -> list[Labels | None]:
    return [native.labels for section in sections for native in section.series.slices]


def _list(kind: str, items: Sequence[str]) -> str:
    rows = "".join(f"<li>{item}</li>" for item in items)
    return f'<ul class="{kind}">{rows}</ul>' if rows else ""


def _counts(sections: Sequence[_Section]) -> str:
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
) -> str:
    """One slice; ``place`` is the number of its series, and its own in the series."""
    anchor, key = "slice-{}-{}".format(*place), native.key[:8]
    if isinstance(pixels, DecodeError):
        return (
            f'<figure id="{anchor}"><figcaption><strong>Cannot be decoded</strong> no. {place[1]},'
            f" {_described(native)}, <code>{safe(key)}</code></figcaption></figure>\n"
        )
    spec = None
    if native.modality == "CT" and native.window is not None and native.window[1] > 0:
        spec = f"window:{native.window[0]},{native.window[1]}"
    image, canvas, _ = model_image(native, pixels, _THUMB, spec)
    overlay = "".join(
        drawn(finding, canvas, colours[finding.category.name]) for finding in native.labels or ()
    )
    found = _found(native.labels)
    alt = safe(f"{_modality(native)} slice {key}: {found}")
    return (
        f'<figure id="{anchor}"><a class="picture" href="#{anchor}">'
        f'<img src="{png(image)}" alt="{alt}" width="{_THUMB}" height="{_THUMB}">'
        f'<svg viewBox="0 0 {_THUMB} {_THUMB}" aria-hidden="true">{overlay}</svg></a>\n'
        f"<figcaption><strong>{safe(found)}</strong> no. {place[1]}, {_described(native)},"
        f" <code>{safe(key)}</code></figcaption></figure>\n"
    )


def _found(labels: Labels | None) -> str:
    if labels is None:
        return "Not labelled"
    if not len(labels):
        return "No findings"
    totals = Counter(finding.category.name for finding in labels)
    names = ", ".join(f"{name} ({n})" if n > 1 else name for name, n in totals.items())
    return f"{_count(len(labels), 'finding')}: {names}"


def _described(native: Slice) -> str:
    """Modality, shape, spacing and place of a slice, as HTML."""
    rows, columns = native.shape
    parts = [safe(_modality(native)), f"{rows} &times; {columns} pixels"]
    geometry = native.geometry
    if geometry.spacing is None:
        parts.append("spacing unknown")
    else:
        parts.append("{:.3g} &times; {:.3g} mm".format(*geometry.spacing))
    if geometry.normal is not None and geometry.position is not None:
        place = float(np.dot(geometry.normal, geometry.position))
        parts.append(f"at {place:.1f} mm".replace("-", "&minus;"))
    return ", ".join(parts)


def _modality(native: Slice) -> str:
    return native.modality or "unknown modality"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
