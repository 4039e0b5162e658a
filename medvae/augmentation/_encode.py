"""The stage `encode`: each slice is decoded once and, if needed, encoded into the latent space."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medvae.atomic import write_bytes, write_text
from medvae.augmentation._engine import Engine
from medvae.augmentation._plan import BATCH
from medvae.errors import DecodeError, ReadError
from medvae.gates import Calibration
from medvae.latent import Latents
from medvae.models import TrainedModel
from medvae.networks import Codec
from medvae.progress import Progress
from medvae.readers import check_unchanged, pixel_fingerprint
from medvae.records import Slice
from medvae.render import Hosts, thumbnail
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
        self._latents = [Latents.of([], [], [], torch.zeros(0, units), torch.zeros(0, units))]
        self._rows: dict[str, int] = {}
        self._thumbnails: dict[str, NDArray[np.uint8]] = {}

    def __contains__(self, native: Slice) -> bool:
        return native.name in self.fingerprints

    def add(self, slices: Sequence[Slice], latents: Latents) -> None:
        """Add the latents of slices."""
        count = sum(map(len, self._latents))
        self._rows |= {native.name: count + i for i, native in enumerate(slices)}
        self._latents.append(latents)

    def add_host(self, native: Slice, picture: NDArray[np.float32]) -> None:
        """Add how a slice that is free of findings looks to the model."""
        self._thumbnails[native.name] = thumbnail(picture)

    def hosts(self, slices: Sequence[Slice]) -> Hosts:
        """Return some of the slices that are free of findings, to choose hosts from."""
        return Hosts(slices, [self._thumbnails[native.name] for native in slices])

    def merge(self, other: Encoded) -> None:
        """Add another part."""
        self.calibration.merge(other.calibration)
        self.fingerprints |= other.fingerprints
        self.problems += other.problems
        count = sum(map(len, self._latents))
        self._rows |= {name: count + row for name, row in other._rows.items()}
        self._latents += other._latents
        self._thumbnails |= other._thumbnails

    @property
    def all(self) -> Latents:
        """The latents of all slices."""
        if len(self._latents) > 1:
            self._latents = [Latents.concat(self._latents)]
        return self._latents[0]

    def of(self, slices: Sequence[Slice]) -> Latents:
        """Return the latents of some slices."""
        return self.all.take([self._rows[native.name] for native in slices])

    def save(self, path: Path) -> None:
        """Write everything to a file, for other processes.

        Raises:
            WriteError: If the file system refuses.
        """
        record = {
            "names": list(self._rows),
            "hosts": list(self._thumbnails),
            "fingerprints": self.fingerprints,
            "problems": self.problems,
        }
        packed = io.BytesIO()
        arrays: dict[str, Any] = {
            "record": np.frombuffer(json.dumps(record).encode(), np.uint8),
            "mu": self.all.mu.numpy(),
            "logvar": self.all.logvar.numpy(),
            "thumbnails": np.array(list(self._thumbnails.values()), np.uint8),
            **self.calibration.arrays(),
        }
        np.savez(packed, **arrays)
        write_bytes(path, packed.getvalue())

    @classmethod
    def load(cls, path: Path, slices: Mapping[str, Slice]) -> Encoded:
        """Read what another process has learned from some of these slices, given by name.

        Raises:
            ReadError: If the file is damaged.
        """
        try:
            with np.load(io.BytesIO(path.read_bytes())) as file:
                arrays = dict(file)
            record = parse(arrays["record"].tobytes(), str(path))
            known = [slices[name] for name in record.texts("names")]
            mu, logvar = (torch.from_numpy(arrays[name]) for name in ("mu", "logvar"))
            latents, calibration = _latents(known, mu, logvar), Calibration.of_arrays(arrays)
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise ReadError(f"{path}: is damaged; remove it and run its shard again") from error
        part = cls(mu.shape[1])
        part.add(known, latents)
        part.calibration, part.problems = calibration, list(record.texts("problems"))
        part.fingerprints = record.object("fingerprints").strings()
        part._thumbnails = dict(zip(record.texts("hosts"), arrays["thumbnails"], strict=True))
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
            if native.labels is not None and not native.labels:
                part.add_host(native, pictures[-1])
            part.calibration.add(native.series, scene, pictures[-1])
        if known and self._codec is not None:
            mu, logvar = self._codec.encode(pictures)
            part.add(known, _latents(known, mu, logvar))
        return part


def _latents(slices: Sequence[Slice], mu: Tensor, logvar: Tensor) -> Latents:
    return Latents.of(
        [native.key for native in slices],
        [native.group for native in slices],
        [{finding.category.name for finding in native.labels or ()} for native in slices],
        mu,
        logvar,
    )


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
