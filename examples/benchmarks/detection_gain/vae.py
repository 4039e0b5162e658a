"""Autoencoders of training patients, which are trained once and stored."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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
    """Stored result of a long computation.

    Attributes:
        folder: Folder of the result.
        seconds: Seconds that it took; None if it was interrupted.
    """

    folder: Path
    seconds: float | None


def once(folder: Path, make: Callable[[bool], None], begun: Path) -> Made:
    """Make a folder unless it is complete; wait for another process that is making it.

    Args:
        folder: Folder to make.
        make: Called with whether to resume; makes or completes the folder.
        begun: Path in the folder that exists as soon as it can be resumed.
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
    """Trainer of autoencoders on the slices of some patients, which makes no use of their findings.

    Attributes:
        paths: Files and folders of all data; a split leaves out the patients not asked for.
        labels: Labels, which name the patients of the slices.
        slices: Slices of all patients.
        variant: Variant of the bundle.
        settings: Settings of the bundle, by key.
        out: Folder in which the trained models are stored.
    """

    paths: Sequence[Path]
    labels: Path
    slices: Sequence[Slice]
    variant: str | None
    settings: Mapping[str, Any]
    out: Path

    def of(self, groups: frozenset[str], seed: int) -> Made:
        """Return the model of some patients; each seed has its own weights and validation split."""
        key = repr((sorted(groups), seed))
        name = hashlib.blake2b(key.encode(), digest_size=8).hexdigest()
        folder = self.out / name
        split = folder.with_name(f"{name}-split.json")
        run = partial(train, self.paths, "slice_vae", folder, labels=self.labels, split=split)

        def make(resume: bool) -> None:
            if resume:
                run(resume=True)
                return
            own = [item for item in self.slices if item.group in groups]
            write_split(split, make_split(own, _VALIDATION_SHARE, seed))
            run(variant=self.variant, seed=seed, settings=self.settings)

        made = once(folder, make, Path("checkpoints", "last.pt"))
        # Checkpoints serve only to resume; there are several, each twice the size of the model.
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        return made
