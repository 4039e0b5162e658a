"""Autoencoders of training patients: trained once, and kept."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medvae.atomic import write_text
from medvae.records import Slice
from medvae.split import make_split, write_split
from medvae.training import train

from .claims import claim

__all__ = ["Made", "Trainer", "once"]

_COST = "cost.json"
_VALIDATION_SHARE = 0.2


@dataclass(frozen=True)
class Made:
    """Something that took long and is kept.

    Attributes:
        folder: where it is.
        seconds: that it took; None where it was interrupted.
    """

    folder: Path
    seconds: float | None


def once(folder: Path, make: Callable[[bool], None], begun: Path) -> Made:
    """Make a folder, unless it is made or another process is making it: that is waited for.

    Args:
        folder: where to.
        make: makes it, or goes on with it where it is told that it was begun.
        begun: what is in the folder from when on it can be gone on with.
    """
    cost = folder.with_name(f"{folder.name}-{_COST}")
    with claim(folder, wait=True):
        if not cost.is_file():
            resume = (folder / begun).exists()
            if not resume:
                shutil.rmtree(folder, ignore_errors=True)
            start = time.perf_counter()
            make(resume)
            seconds = None if resume else time.perf_counter() - start
            write_text(cost, json.dumps({"seconds": seconds}) + "\n")
    known = json.loads(cost.read_text(encoding="utf-8"))
    return Made(folder, known["seconds"])


@dataclass(frozen=True, eq=False)
class Trainer:
    """Trains autoencoders on the slices of some patients, without a look at their labels.

    Attributes:
        paths: all data; patients that are not asked for are left out by a split.
        labels: which say who is which patient.
        slices: of all patients.
        variant: of the bundle.
        settings: of the bundle, by key.
        out: where the runs are kept.
    """

    paths: Sequence[Path]
    labels: Path
    slices: Sequence[Slice]
    variant: str | None
    settings: Mapping[str, Any]
    out: Path

    def of(self, groups: frozenset[str], seed: int) -> Made:
        """Return the run of some patients, each seed having its own weights and validation."""
        key = repr((sorted(groups), seed))
        name = hashlib.blake2b(key.encode(), digest_size=8).hexdigest()
        folder = self.out / name
        split = folder.with_name(f"{name}-split.json")

        def make(resume: bool) -> None:
            if resume:
                train(self.paths, "slice_vae", folder, resume=True)
                return
            own = [item for item in self.slices if item.group in groups]
            write_split(split, make_split(own, _VALIDATION_SHARE, seed))
            train(
                self.paths,
                "slice_vae",
                folder,
                variant=self.variant,
                settings={
                    **self.settings,
                    "labels": str(self.labels),
                    "split": str(split),
                    "seed": seed,
                },
            )

        made = once(folder, make, Path("checkpoints", "last.pt"))
        # Only to go on from: twice the size of the model each, several times over.
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        return made
