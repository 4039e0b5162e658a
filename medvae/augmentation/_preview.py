"""One HTML page that shows source and synthetic slice side by side, for a person to judge."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medvae.atomic import write_text
from medvae.augmentation._scenes import Seen
from medvae.augmentation._staged import Staged
from medvae.augmentation._studio import Made
from medvae.augmentation._traced import area
from medvae.gates import Verdict
from medvae.intensity import Canvas
from medvae.manifest import Manifest
from medvae.overlays import COLOURS, drawn, head, png, safe
from medvae.records import Labels

__all__ = ["Preview"]

Shown = tuple[NDArray[np.float32], Canvas]
"""A picture, ``[side, side]``, and where the slice lies on it."""

_SHOWN = 40
_SIDE = 224
_FOLDER = ".preview"

_STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --quiet: #57606a; --page: #fff; --line: #d0d7de }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6edf3; --quiet: #9aa4af; --page: #0d1117; --line: #30363d }
}
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 80rem; padding: 1.5rem; color: var(--text);
  background: var(--page); font: 15px/1.45 system-ui, sans-serif }
h1 { margin: 0 0 .25rem; font-size: 1.6rem }
.summary, figcaption, .facts { color: var(--quiet) }
.draws { display: grid; grid-template-columns: repeat(auto-fill, minmax(30rem, 1fr)); gap: 1.5rem }
article { border-top: 1px solid var(--line); padding-top: .6rem; break-inside: avoid }
.pictures { display: flex; gap: .6rem }
figure { margin: 0; flex: 1 }
figcaption { font-size: .8rem }
.facts { margin: .3rem 0 0; font-size: .8rem; overflow-wrap: anywhere }
.picture { position: relative; background: #000 }
.picture img { display: block; width: 100%; height: auto }
.picture svg { position: absolute; inset: 0; width: 100%; height: 100%; fill: none;
  stroke-width: 1.5 }
svg * { vector-effect: non-scaling-stroke }
.picture .before { position: absolute; inset: 0; visibility: hidden }
.blink:hover .before, .blink:focus .before { animation: blink 1s steps(1) infinite }
.blink:hover svg, .blink:focus svg { visibility: hidden }
.blink { cursor: pointer }
:focus-visible { outline: 3px solid #2f81f7; outline-offset: 2px }
@keyframes blink { 0% { visibility: visible } 50% { visibility: hidden } }
"""


class Preview:
    """Collects pictures while a run goes on, and makes the page at its end.

    The pictures wait in files of their own, so that a run that was killed still has them.

    Args:
        out: the folder of the run.
        keys: of all draws.
    """

    def __init__(self, out: Path, keys: Iterable[str]) -> None:
        self._out = out
        ranked = sorted(keys, key=lambda key: hashlib.blake2b(key.encode()).digest())
        # Some of those that are chosen will be rejected.
        self._order = dict.fromkeys(ranked[: 4 * _SHOWN])

    def collect(self, made: Iterable[Made]) -> None:
        """Draw those of the slices that the page may show: of a whole lesion its largest."""
        kept = [one for one in made if one.reason is None and one.draw.key in self._order]
        for draw, ones in groupby(kept, key=lambda one: one.draw):
            one = max(ones, key=_labelled)
            if one.staged is not None:
                article = _article(one.staged, one.strength, one.verdicts)
                write_text(self._file(draw.key), article)

    def write(self, manifest: Manifest, title: str) -> Path:
        """Write the page, and remove what was collected.

        Raises:
            WriteError: the file system refuses.
        """
        path = self._out / "preview.html"
        if path.is_file():
            # Of a run that had come to its end: what was collected for it may be gone.
            shutil.rmtree(self._out / _FOLDER, ignore_errors=True)
            return path
        chosen = [key for key in self._order if self._file(key).is_file()][:_SHOWN]
        articles = [self._file(key).read_text(encoding="utf-8") for key in chosen]
        write_text(path, _page(title, manifest, articles))
        shutil.rmtree(self._out / _FOLDER, ignore_errors=True)
        return path

    def _file(self, key: str) -> Path:
        return self._out / _FOLDER / f"{key}.html"


def _labelled(one: Made) -> float:
    """Return how many pixels of a synthetic slice are labelled."""
    return 0.0 if one.staged is None else sum(map(area, one.staged.rendered.labels))


def _article(item: Staged, strength: float, verdicts: Sequence[Verdict]) -> str:
    """Show one synthetic slice beside what it was made of."""
    before, after = _shown(item.seen), _shown(item.seen, item.rendered.values)
    labels = item.seen.scene.labels
    pictures = [_figure("Source" if item.planted is None else "Host", before, labels)]
    if item.planted is not None:
        donor = item.planted.donor
        pictures.insert(0, _figure("Donor", _shown(donor), donor.scene.labels))
    pictures.append(_figure("Synthetic", after, item.rendered.labels, before))
    facts = [f"strength {strength:.2g}", *(f"{v.measure} {v.value:.3g}" for v in verdicts)]
    return (
        f'<article id="{item.key}"><div class="pictures">{"".join(pictures)}</div>'
        f'<p class="facts">{safe(", ".join(facts))}; <code>{item.key}</code></p></article>\n'
    )


def _shown(seen: Seen, values: NDArray[np.float32] | None = None) -> Shown:
    """Show a slice, or other values of it, as small as the page wants it."""
    scene = seen.scene
    rows, columns = (
        max(1, round(extent * _SIDE / scene.canvas.size)) for extent in scene.canvas.extent
    )
    canvas = replace(scene.canvas, extent=(rows, columns), size=_SIDE)
    return replace(scene, canvas=canvas).picture(values), canvas


def _figure(name: str, picture: Shown, labels: Labels, before: Shown | None = None) -> str:
    image, canvas = picture
    names = sorted({finding.category.name for finding in labels})
    overlay = "".join(
        drawn(finding, canvas, COLOURS[names.index(finding.category.name) % len(COLOURS)])
        for finding in labels
    )
    blink, attributes = "", 'class="picture"'
    if before is not None:
        blink = f'<img class="before" src="{png(before[0])}" alt="" width="{_SIDE}">'
        attributes = 'class="picture blink" tabindex="0"'
    found = safe(f"{name}: {', '.join(names) or 'no finding'}")
    return (
        f'<figure><div {attributes}><img src="{png(image)}" alt="{found}" width="{_SIDE}">{blink}'
        f'<svg viewBox="0 0 {_SIDE} {_SIDE}" aria-hidden="true">{overlay}</svg></div>'
        f"<figcaption>{found}</figcaption></figure>"
    )


def _page(title: str, manifest: Manifest, articles: Sequence[str]) -> str:
    reasons = manifest.rejected.most_common()
    rejected = ", ".join(f"{count} {reason}" for reason, count in reasons)
    summary = f"{manifest.kept} of {len(manifest.lines)} draws kept"
    if rejected:
        summary += f"; rejected: {rejected}"
    return f"""{head(title, _STYLE)}
<body>
<header>
<h1>{safe(title)}</h1>
<p class="summary">{safe(summary)}. {len(articles)} of them are shown; where the pointer rests on a
synthetic slice, it blinks with the one it was made of.</p>
</header>
<main class="draws">
{"".join(articles)}</main>
</body>
</html>
"""
