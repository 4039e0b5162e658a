"""HTML page that shows source and synthetic slices side by side, for visual inspection."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvae.atomic import write_text
from medvae.augmentation._scenes import Seen
from medvae.augmentation._staged import Staged
from medvae.augmentation._studio import Made
from medvae.gates import Verdict
from medvae.intensity import Canvas
from medvae.manifest import Manifest
from medvae.pages import Mark, SlicePicture, colours_of, found, render
from medvae.records import Labels
from medvae.schema import Fields, read_object

__all__ = ["Preview"]

Shown = tuple[NDArray[np.float32], Canvas]
"""An image, ``[side, side]``, and the canvas that locates the slice on it."""

_SHOWN = 40
_SIDE = 224
_FOLDER = ".preview"


class Preview:
    """Preview page: images are collected during a run, and the page is written at its end.

    Collected images are kept in separate files, so that they survive a killed run.

    Args:
        out: Folder of the run.
        keys: Keys of all draws.
    """

    def __init__(self, out: Path, keys: Iterable[str]) -> None:
        self._out = out
        ranked = sorted(keys, key=lambda key: hashlib.blake2b(key.encode()).digest())
        # Some of the chosen draws will be rejected.
        self._order = dict.fromkeys(ranked[: 4 * _SHOWN])

    def collect(self, made: Iterable[Made]) -> None:
        """Collect slices that the page may show: for a whole lesion, the one that shows most."""
        kept = [one for one in made if one.reason is None and one.draw.key in self._order]
        for draw, ones in groupby(kept, key=lambda one: one.draw):
            one = max(ones, key=_labelled)
            if one.staged is not None:
                article = _article(one.staged, one.strength, one.verdicts)
                write_text(self._file(draw.key), json.dumps(article))

    def write(self, manifest: Manifest, title: str) -> Path:
        """Write the page, and remove the collected files.

        Raises:
            WriteError: If the file system refuses.
        """
        path = self._out / "preview.html"
        if path.is_file():
            # The run had already finished, so the files collected for its page may be gone.
            shutil.rmtree(self._out / _FOLDER, ignore_errors=True)
            return path
        chosen = [key for key in self._order if self._file(key).is_file()][:_SHOWN]
        articles = [_read_article(read_object(self._file(key))) for key in chosen]
        summary = _summary(manifest)
        write_text(path, render("preview", title=title, summary=summary, articles=articles))
        shutil.rmtree(self._out / _FOLDER, ignore_errors=True)
        return path

    def _file(self, key: str) -> Path:
        return self._out / _FOLDER / f"{key}.json"


def _labelled(one: Made) -> float:
    """Return the number of labelled pixels of a synthetic slice."""
    return 0.0 if one.staged is None else sum(f.area for f in one.staged.rendered.labels)


def _article(item: Staged, strength: float, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return the entry that shows a synthetic slice beside the slices it was made from."""
    before, after = _shown(item.seen), _shown(item.seen, item.rendered.values)
    labels = item.seen.scene.labels
    pictures = [_picture("Source" if item.planted is None else "Host", before, labels)]
    if item.planted is not None:
        donor = item.planted.donor
        pictures.insert(0, _picture("Donor", _shown(donor), donor.scene.labels))
    pictures.append(_picture("Synthetic", after, item.rendered.labels))
    facts = [f"strength {strength:.2g}", *(f"{v.measure} {v.value:.3g}" for v in verdicts)]
    return {
        "key": item.key,
        "pictures": [asdict(one) for one in pictures],
        "facts": ", ".join(facts),
    }


def _read_article(fields: Fields) -> dict[str, Any]:
    """Read an entry that was collected.

    Raises:
        ReadError: If the entry is damaged.
    """
    return {
        "key": fields.text("key"),
        "pictures": [_read_picture(one) for one in fields.objects("pictures")],
        "facts": fields.text("facts"),
    }


def _read_picture(fields: Fields) -> SlicePicture:
    marks = tuple(map(_read_mark, fields.objects("marks")))
    return SlicePicture(fields.text("uri"), fields.whole("side"), fields.text("alt"), marks)


def _read_mark(fields: Fields) -> Mark:
    x, y, width, height = fields.numbers("box", 4)
    name, colour, outline = (fields.text(one) for one in ("name", "colour", "outline"))
    return Mark(name, colour, (x, y, width, height), outline)


def _shown(seen: Seen, values: NDArray[np.float32] | None = None) -> Shown:
    """Return a slice, with its own or other values, at the size that the page shows."""
    scene = seen.scene
    rows, columns = (
        max(1, round(extent * _SIDE / scene.canvas.size)) for extent in scene.canvas.extent
    )
    canvas = replace(scene.canvas, extent=(rows, columns), size=_SIDE)
    return replace(scene, canvas=canvas).picture(values), canvas


def _picture(name: str, picture: Shown, labels: Labels) -> SlicePicture:
    image, canvas = picture
    colours = colours_of(sorted({finding.category.name for finding in labels}))
    return SlicePicture.of(image, canvas, labels, colours, f"{name}: {found(labels)}")


def _summary(manifest: Manifest) -> str:
    rejected = ", ".join(f"{n} {reason}" for reason, n in manifest.rejected.most_common())
    summary = f"{manifest.kept} of {len(manifest.lines)} draws kept"
    return f"{summary}; rejected: {rejected}" if rejected else summary
