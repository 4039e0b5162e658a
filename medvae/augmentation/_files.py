"""Writing of synthetic slices as images, and their description in manifest lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medvae.augmentation._pictures import Pictures
from medvae.augmentation._plan import Batch, Draw
from medvae.augmentation._settings import Settings
from medvae.augmentation._staged import Staged
from medvae.augmentation._studio import Made
from medvae.errors import WriteError
from medvae.labels import finding_record
from medvae.manifest import Line
from medvae.records import Series
from medvae.writers import NewPixels, Synthesis

__all__ = ["Files"]


@dataclass(frozen=True, eq=False)
class Files:
    """Writer of batches.

    Attributes:
        out: Folder of the run.
        settings: Settings that give the image formats.
        about: Provenance that all slices have in common.
    """

    out: Path
    settings: Settings
    about: Synthesis

    def write(self, batch: Batch, made: Sequence[Made]) -> list[Line]:
        """Write the kept slices of a batch, and return its manifest lines.

        Slices that a format does not allow, such as a DICOM image whose source has text burned
        into its pixels, are rejected.

        Raises:
            WriteError: If the file system refuses.
        """
        kept = [one for one in made if one.reason is None]
        written: dict[Made, tuple[str | None, list[str]]] = {}
        for part in [kept] if batch.whole and kept else [[one] for one in kept]:
            slices = [(one.staged, one.strength) for one in part if one.staged is not None]
            reason, files = self._written(slices, batch.whole)
            written |= {one: (reason, names) for one, names in zip(part, files, strict=True)}
        lines = []
        for one in made:
            reason, names = written.get(one, (one.reason, []))
            lines.append(self._line(batch, replace(one, reason=reason), names))
        return lines

    def _written(
        self, slices: Sequence[tuple[Staged, float]], whole: bool
    ) -> tuple[str | None, list[list[str]]]:
        """Write slices of one series; return why that failed, if so, and the files of each."""
        first = slices[0][0]
        natives = tuple(
            replace(item.base.native, key=item.key, labels=item.rendered.labels)
            for item, _ in slices
        )
        place = None if whole else first.base.place + 1
        try:
            pixels = [self._pixels(item, strength) for item, strength in slices]
        except WriteError as error:
            return error.reason, [[] for _ in slices]
        pictures = Pictures(self.out, "images", self.settings.formats)
        return pictures.write(Series(first.series_key, natives), pixels, place)

    def _pixels(self, item: Staged, strength: float) -> NewPixels:
        about = replace(
            self.about,
            copy=item.draw.copy,
            strength=strength,
            seed=_seed(item.draw),
            donors=() if item.planted is None else (item.draw.source.native.group,),
        )
        return NewPixels.of(item.seen.pixels, item.rendered.values, about)

    def _line(self, batch: Batch, one: Made, files: list[str]) -> Line:
        source, item = one.draw.source.native, one.staged
        base = source if item is None else item.base.native
        findings = item.rendered.labels if item is not None and one.reason is None else ()
        numbers = {} if item is None else item.rendered.numbers
        return {
            "key": one.key,
            "batch": batch.key,
            "outcome": "kept" if one.reason is None else "rejected",
            "reason": one.reason,
            "sources": list(dict.fromkeys((source.key, base.key))),
            "groups": list(dict.fromkeys((base.group, source.group))),
            "copy": one.draw.copy,
            "render": self.about.render,
            "sampler": self.about.sampler,
            "strength": _rounded(one.strength),
            "seed": _seed(one.draw),
            "partner": None if item is None else item.partner,
            "gates": {f"{v.gate} {v.measure}": _rounded(v.value) for v in one.verdicts},
            "numbers": {name: _rounded(number) for name, number in numbers.items()},
            "shape": list(base.shape),
            "files": files,
            "labels": [finding_record(finding, base.shape) for finding in findings],
            "labelled": source.labels is not None,
            "model": self.about.model,
        }


def _seed(draw: Draw) -> str:
    return f"{draw.seed}/{draw.key}"


def _rounded(value: float) -> float | None:
    """Return a rounded number for JSON, or None if it is not finite."""
    return round(float(value), 6) if math.isfinite(value) else None
