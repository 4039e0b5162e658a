"""HTML page that shows source and synthetic slices side by side, for visual inspection."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvae.atomic import write_text
from medvae.augmentation._plan import Draw
from medvae.gates import Draft
from medvae.intensity import Canvas
from medvae.manifest import Manifest
from medvae.pages import Mark, SlicePicture, colours_of, found, render
from medvae.records import Labels
from medvae.render import Refused, Scene
from medvae.schema import Fields, read_object

Shown = tuple[NDArray[np.float32], Canvas]
"""An image, ``[side, side]``, and the canvas that locates the slice on it."""

PREVIEW = "preview.html"
"""Name of the page in the folder of a run."""

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

    def collect(self, made: Iterable[tuple[Draw, Draft | Refused]]) -> None:
        """Collect drafts that the page may show: for a whole lesion, the one that shows most."""
        kept = [
            (draw.key, one)
            for draw, one in made
            if isinstance(one, Draft) and one.reason is None and draw.key in self._order
        ]
        for key, drafts in groupby(kept, key=lambda one: one[0]):
            draft = max((draft for _, draft in drafts), key=_labelled)
            write_text(self._file(key), json.dumps(_article(draft)))

    def write(self, manifest: Manifest, title: str) -> Path:
        """Write the page, and remove the collected files.

        Raises:
            WriteError: If the file system refuses.
        """
        path = self._out / PREVIEW
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


def _labelled(draft: Draft) -> float:
    """Return the number of labelled pixels of a draft."""
    return sum(finding.area for finding in draft.rendered.labels)


def _article(draft: Draft) -> dict[str, Any]:
    """Return the entry that shows a synthetic slice beside the slices it was made from."""
    scene, donor = draft.scene, draft.donor
    after = _shown(scene, draft.rendered.values)
    pictures = [_picture("Source" if donor is None else "Host", _shown(scene), scene.labels)]
    if donor is not None:
        pictures.insert(0, _picture("Donor", _shown(donor), donor.labels))
    pictures.append(_picture("Synthetic", after, draft.rendered.labels))
    verdicts = (f"{verdict.measure} {verdict.value:.3g}" for verdict in draft.verdicts)
    return {
        "key": draft.key,
        "pictures": [asdict(one) for one in pictures],
        "facts": ", ".join((f"strength {draft.strength:.2g}", *verdicts)),
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


def _shown(scene: Scene, values: NDArray[np.float32] | None = None) -> Shown:
    """Return a slice, with its own or other values, at the size that the page shows."""
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
    summary = f"{manifest.kept} of {len(manifest)} draws kept"
    return f"{summary}; rejected: {rejected}" if rejected else summary
