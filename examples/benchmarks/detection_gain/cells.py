"""The cells of the table as files, each of which is written as a whole when it is done."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medvae.atomic import write_text
from medvae.errors import ReadError, UsageProblem
from medvae.folders import check_empty

from .claims import claim
from .folds import Stage

__all__ = ["Cell", "Record", "open_folder", "read_records"]

Record = dict[str, Any]
"""Record of a measured cell: its parameters, its scores and its cost."""

_SETTING = "setting.json"
_CELLS = "cells"


@dataclass(frozen=True)
class Cell:
    """Cell of the table: one detector.

    Attributes:
        stage: Stage of the fold.
        fold: Number of the fold.
        patients: Number of labelled patients.
        repeat: Number of the draw of the labelled patients.
        arm: Name of the arm that the detector is trained on.
        steps: Number of training steps.
        classic: Strength of the classic augmentation.
    """

    stage: Stage
    fold: int
    patients: int
    repeat: int
    arm: str
    steps: int
    classic: float

    @property
    def name(self) -> str:
        """Unique name of the cell."""
        draw = f"{self.stage}{self.fold}-patients{self.patients}-repeat{self.repeat}"
        return f"{draw}/{self.arm}-steps{self.steps}-classic{self.classic:g}"

    def path(self, out: Path) -> Path:
        """Return the path of the cell's file."""
        return out / _CELLS / f"{self.name}.json"

    def write(self, out: Path, measured: Mapping[str, Any]) -> None:
        """Write the measurements to the cell's file."""
        record = {"cell": asdict(self), **measured}
        write_text(self.path(out), json.dumps(record, indent=1) + "\n")


def open_folder(out: Path, setting: Mapping[str, Any]) -> None:
    """Begin a table, or continue it.

    Args:
        out: Folder of the table.
        setting: Settings that all cells share, as plain JSON.

    Raises:
        UsageProblem: The folder holds something else, or a table with other settings.
        WriteError: A file cannot be written.
    """
    path = out / _SETTING
    if not path.is_file():
        with claim(out.resolve(), wait=True):
            if not path.is_file():
                check_empty(out)
                write_text(path, json.dumps(setting, indent=1) + "\n")
    before = _read(path)
    changed = [name for name in {*before, *setting} if before.get(name) != setting.get(name)]
    if changed:
        raise UsageProblem(
            f"{out}: holds a table with another {', '.join(sorted(changed))}: its cells could not "
            "be compared; give the same, or another folder"
        )


def read_records(out: Path) -> Iterator[Record]:
    """Read the records of all measured cells.

    Raises:
        ReadError: A record is damaged.
    """
    for path in sorted((out / _CELLS).glob("*/[!.]*.json")):
        yield _read(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReadError(f"{path}: cannot be read: {error}") from error
    return content
