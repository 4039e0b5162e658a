"""The stage `encode`: each slice is decoded once and, if needed, encoded into the latent space."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from medvae.atomic import write_bytes, write_text
from medvae.augmentation._engine import Engine
from medvae.augmentation._plan import BATCH
from medvae.augmentation._rows import Rows
from medvae.errors import DecodeError, ReadError
from medvae.gates import Calibration
from medvae.latent import Latents
from medvae.models import TrainedModel
from medvae.networks import Codec
from medvae.progress import Progress
from medvae.readers import check_unchanged, pixel_fingerprint
from medvae.records import Slice
from medvae.render import THUMBNAIL_SIDE, Hosts, thumbnail
from medvae.schema import parse, read_object

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
        self._latents = Rows((2, units), np.float32)
        self._thumbnails = Rows((THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.uint8)
        self._encoded: dict[str, int] = {}
        self._free: dict[str, int] = {}

    def __contains__(self, native: Slice) -> bool:
        return native.name in self.fingerprints

    def add_latents(self, names: Sequence[str], latents: NDArray[np.float32]) -> None:
        """Add the mean and the logarithm of the variance of latents, ``[N, 2, D]``."""
        self._encoded |= {name: len(self._latents) + i for i, name in enumerate(names)}
        self._latents.append(latents)

    def add_thumbnails(self, names: Sequence[str], thumbnails: NDArray[np.uint8]) -> None:
        """Add the thumbnails of slices that are free of findings, ``[N, side, side]``."""
        self._free |= {name: len(self._thumbnails) + i for i, name in enumerate(names)}
        self._thumbnails.append(thumbnails)

    def merge(self, other: Encoded) -> None:
        """Add another part."""
        self.calibration.merge(other.calibration)
        self.fingerprints |= other.fingerprints
        self.problems += other.problems
        self.add_latents(list(other._encoded), other._latents.all())
        self.add_thumbnails(list(other._free), other._thumbnails.all())

    def of(self, slices: Sequence[Slice]) -> Latents:
        """Return the latents of some slices."""
        known = self._latents[[self._encoded[native.name] for native in slices]]
        return Latents.of(
            [native.key for native in slices],
            [native.group for native in slices],
            [{finding.category.name for finding in native.labels or ()} for native in slices],
            *map(torch.from_numpy, (known[:, 0], known[:, 1])),
        )

    def hosts(self, slices: Sequence[Slice]) -> Hosts:
        """Return some of the slices that are free of findings, to choose hosts from."""
        return Hosts(slices, self._thumbnails, [self._free[native.name] for native in slices])

    def save(self, path: Path) -> None:
        """Write everything to a file, for other processes.

        Raises:
            WriteError: If the file system refuses.
        """
        record = {
            "encoded": list(self._encoded),
            "free": list(self._free),
            "fingerprints": self.fingerprints,
            "problems": self.problems,
        }
        packed = io.BytesIO()
        arrays: dict[str, Any] = {
            "record": np.frombuffer(json.dumps(record).encode(), np.uint8),
            "latents": self._latents.all(),
            "thumbnails": self._thumbnails.all(),
            **self.calibration.arrays(),
        }
        np.savez(packed, **arrays)
        write_bytes(path, packed.getvalue())

    @classmethod
    def load(cls, path: Path) -> Encoded:
        """Read what another process has learned.

        Raises:
            ReadError: If the file is damaged.
        """
        try:
            with np.load(io.BytesIO(path.read_bytes())) as file:
                arrays = dict(file)
            record = parse(arrays["record"].tobytes(), str(path))
            part = cls(arrays["latents"].shape[2])
            part.calibration = Calibration.of_arrays(arrays)
            part.problems = list(record.texts("problems"))
            part.fingerprints = record.object("fingerprints").strings()
            part.add_latents(record.texts("encoded"), arrays["latents"])
            part.add_thumbnails(record.texts("free"), arrays["thumbnails"])
        except (OSError, ValueError, KeyError, IndexError, BadZipFile) as error:
            raise ReadError(f"{path}: is damaged; remove it and run its shard again") from error
        return part

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
        codec: Fast copy of the model, which encodes; None if no latents are needed.
    """

    def __init__(self, model: TrainedModel, codec: Codec | None) -> None:
        self._model, self._codec = model, codec

    def __call__(self, batch: Batch) -> Encoded:
        """Return what is learned from a batch."""
        before, slices = batch
        part = Encoded(math.prod(self._model.network.latent_shape))
        if before is not None:
            with suppress(DecodeError):  # reported by the batch that encodes it
                scene = self._model.scene(before, before.pixels())
                part.calibration.follow(before.series, scene, scene.picture())
        known, pictures, free = [], [], {}
        for native in slices:
            try:
                pixels = native.pixels()
            except DecodeError as error:
                part.problems.append(str(error))
                continue
            part.fingerprints[native.name] = pixel_fingerprint(native, pixels)
            scene = self._model.scene(native, pixels)
            known.append(native.name)
            pictures.append(scene.picture())
            if native.labels is not None and not native.labels:
                free[native.name] = thumbnail(pictures[-1])
            part.calibration.add(native.series, scene, pictures[-1])
        if free:
            part.add_thumbnails(list(free), np.stack(list(free.values())))
        if known and self._codec is not None:
            latents = torch.stack(self._codec.encode(pictures), 1)
            part.add_latents(known, latents.flatten(2).float().cpu().numpy())
        return part


def encode(
    slices: Sequence[Slice],
    model: TrainedModel,
    codec: Codec | None,
    engine: Engine,
    progress: Progress,
    share: Callable[[Sequence[Batch]], Sequence[Batch]] = tuple,
) -> Encoded:
    """Encode slices, which are in their order.

    Args:
        slices: Slices to encode.
        model: Model on whose canvas slices are placed.
        codec: Fast copy of the model, which encodes; None if no latents are needed.
        engine: Engine that runs the stage.
        progress: Called with (stage, done, total, note) as work proceeds.
        share: Function that returns the batches to encode; by default all of them.
    """
    stage = EncodeStage(model, codec)
    batches: list[Batch] = []
    for start in range(0, len(slices), BATCH):
        before = slices[start - 1] if start else None
        same = before is not None and before.series == slices[start].series
        batches.append((before if same else None, slices[start : start + BATCH]))
    own = share(batches)
    counts = list(accumulate(len(batch) for _, batch in own))
    what = "Reading slices" if codec is None else "Encoding slices"
    parts: dict[int, Encoded] = {}
    whole = Encoded(math.prod(model.network.latent_shape))
    for index in engine.run(stage, own, parts.__setitem__):
        whole.merge(parts.pop(index))
        progress(what, counts[index], counts[-1], "")
    return whole
