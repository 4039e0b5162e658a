"""The cells of the table, as files: each is written as a whole when it is done."""

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
"""What is known of a cell that was measured: its place, its scores, and what it cost."""

_SETTING = "setting.json"
_CELLS = "cells"


@dataclass(frozen=True)
class Cell:
    """One detector.

    Attributes:
        stage: of its fold.
        fold: number of it.
        patients: how many are labelled.
        repeat: which draw of them.
        arm: what it learns from.
        steps: for how long.
        classic: strength of the classic augmentation.
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
        """Its name, which no other cell has."""
        draw = f"{self.stage}{self.fold}-patients{self.patients}-repeat{self.repeat}"
        return f"{draw}/{self.arm}-steps{self.steps}-classic{self.classic:g}"

    def path(self, out: Path) -> Path:
        """Return its file."""
        return out / _CELLS / f"{self.name}.json"

    def write(self, out: Path, measured: Mapping[str, Any]) -> None:
        """Write what was measured."""
        record = {"cell": asdict(self), **measured}
        write_text(self.path(out), json.dumps(record, indent=1) + "\n")


def open_folder(out: Path, setting: Mapping[str, Any]) -> None:
    """Begin a table, or go on with it.

    Args:
        out: its folder.
        setting: what all cells have in common, as plain JSON.

    Raises:
        UsageProblem: the folder holds something else, or a table of another setting.
        WriteError: the file system refuses.
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
    """Read all cells that there are.

    Raises:
        ReadError: one is damaged.
    """
    for path in sorted((out / _CELLS).glob("*/[!.]*.json")):
        yield _read(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReadError(f"{path}: cannot be read: {error}") from error
    return content
