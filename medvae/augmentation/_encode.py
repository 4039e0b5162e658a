"""The stage `encode`: each slice is decoded once and encoded into the latent space."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch

from medvae.atomic import write_text
from medvae.augmentation._engine import Engine
from medvae.augmentation._plan import BATCH
from medvae.errors import DecodeError
from medvae.gates import Calibration
from medvae.latent import Latents
from medvae.models import TrainedModel
from medvae.networks import Codec
from medvae.progress import Progress
from medvae.readers import check_unchanged, pixel_fingerprint
from medvae.records import Slice
from medvae.schema import read_object

__all__ = ["Encoded", "encode"]

Batch = tuple[Slice | None, Sequence[Slice]]
"""Slices to encode, and the slice before the first of them if it is of the same series."""


class Encoded:
    """What is learned from slices while they are encoded; parts can be merged in any order.

    Args:
        units: Number of units of a latent.

    Attributes:
        calibration: What the gates learn.
        fingerprints: Fingerprint of the pixels of each slice, by name.
        problems: Why slices could not be decoded.
    """

    def __init__(self, units: int) -> None:
        self.calibration = Calibration()
        self.fingerprints: dict[str, str] = {}
        self.problems: list[str] = []
        self._latents = [Latents.of([], [], [], torch.zeros(0, units), torch.zeros(0, units))]
        self._rows: dict[str, int] = {}

    def __contains__(self, native: Slice) -> bool:
        return native.name in self._rows

    def add(self, slices: Sequence[Slice], latents: Latents) -> None:
        """Add the latents of slices."""
        count = sum(map(len, self._latents))
        self._rows |= {native.name: count + i for i, native in enumerate(slices)}
        self._latents.append(latents)

    def merge(self, other: Encoded) -> None:
        """Add another part."""
        self.calibration.merge(other.calibration)
        self.fingerprints |= other.fingerprints
        self.problems += other.problems
        count = sum(map(len, self._latents))
        self._rows |= {name: count + row for name, row in other._rows.items()}
        self._latents += other._latents

    @property
    def all(self) -> Latents:
        """The latents of all slices."""
        if len(self._latents) > 1:
            self._latents = [Latents.concat(self._latents)]
        return self._latents[0]

    def of(self, slices: Sequence[Slice]) -> Latents:
        """Return the latents of some slices."""
        return self.all.take([self._rows[native.name] for native in slices])

    def check_unchanged(self, slices: Sequence[Slice], out: Path) -> None:
        """Write the fingerprints to the folder of a run, or compare them with those there.

        Raises:
            UsageProblem: If a slice has changed since the run began.
            ReadError: If the existing file is damaged.
            WriteError: If the file system refuses.
        """
        path = out / "sources.json"
        if path.is_file():
            files = {native.name: native.source.path for native in slices}
            check_unchanged(read_object(path).strings(), self.fingerprints, files, out)
        else:
            write_text(path, json.dumps(self.fingerprints, indent=1, sort_keys=True) + "\n")


class EncodeStage:
    """Stage that decodes and encodes batches of slices.

    Args:
        model: Model on whose canvas slices are placed.
        codec: Fast copy of the model, which encodes.
    """

    def __init__(self, model: TrainedModel, codec: Codec) -> None:
        self._model, self._codec = model, codec

    def __call__(self, batch: Batch) -> Encoded:
        """Return what is learned from a batch."""
        before, slices = batch
        part = Encoded(math.prod(self._codec.latent_shape))
        if before is not None:
            with suppress(DecodeError):  # reported by the batch that encodes it
                scene = self._model.scene(before, before.pixels())
                part.calibration.follow(before.series, scene, scene.picture())
        known, pictures = [], []
        for native in slices:
            try:
                pixels = native.pixels()
            except DecodeError as error:
                part.problems.append(str(error))
                continue
            part.fingerprints[native.name] = pixel_fingerprint(native, pixels)
            scene = self._model.scene(native, pixels)
            known.append(native)
            pictures.append(scene.picture())
            part.calibration.add(native.series, scene, pictures[-1])
        if known:
            mu, logvar = self._codec.encode(pictures)
            part.add(
                known,
                Latents.of(
                    [native.key for native in known],
                    [native.group for native in known],
                    [{f.category.name for f in native.labels or ()} for native in known],
                    mu,
                    logvar,
                ),
            )
        return part


def encode(
    slices: Sequence[Slice],
    model: TrainedModel,
    codec: Codec,
    engine: Engine,
    progress: Progress,
) -> Encoded:
    """Encode slices, which are in their order.

    Args:
        slices: Slices to encode.
        model: Model on whose canvas slices are placed.
        codec: Fast copy of the model, which encodes.
        engine: Engine that runs the stage.
        progress: Called with (stage, done, total, note) as work proceeds.
    """
    stage = EncodeStage(model, codec)
    batches: list[Batch] = []
    for start in range(0, len(slices), BATCH):
        before = slices[start - 1] if start else None
        same = before is not None and before.series == slices[start].series
        batches.append((before if same else None, slices[start : start + BATCH]))
    parts: dict[int, Encoded] = {}
    whole = Encoded(math.prod(model.network.latent_shape))
    for index in engine.run(stage, batches, parts.__setitem__):
        whole.merge(parts.pop(index))
        done = min((index + 1) * BATCH, len(slices))
        progress("Encoding slices", done, len(slices), "")
    return whole
