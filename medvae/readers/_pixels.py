"""Pixels of slices, decoded by worker processes, and fingerprints that show changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medvae.errors import DecodeError, UsageProblem
from medvae.files import FileReport
from medvae.readers._contract import Answer, Decoded
from medvae.readers._workers import shared_workers, workers_for
from medvae.records import Pixels, Slice, Source, pseudonym

_PIXELS_AT_ONCE = 2**20
_SLICES_AT_ONCE = 8


@dataclass(frozen=True)
class PixelLoader:
    """A callable that decodes the slice of a source; the ``Slice.load`` of slices read from files.

    Args:
        nan_as_padding: Whether to treat NaN as padding instead of refusing the slice.
    """

    nan_as_padding: bool = False

    def __call__(self, source: Source) -> Pixels:
        return self.pixels(source, shared_workers().ask(source))

    def pixels(self, source: Source, answer: Answer) -> Pixels:
        """Convert the answer of a worker to pixels.

        Raises:
            DecodeError: If the worker failed to decode the slice, or the slice contains NaN.
        """
        if isinstance(answer, FileReport):
            raise DecodeError(answer.reason, where=source.path)
        assert isinstance(answer, Decoded)
        stored, padding = answer.stored, None
        values = _rescale(answer) if answer.values is None else answer.values
        if answer.padding is not None:
            low, high = answer.padding
            padding = (stored >= low) & (stored <= high)
        if stored.dtype.kind == "f" and (missing := ~np.isfinite(values)).any():
            if not self.nan_as_padding:
                raise DecodeError(
                    f"slice {source.frame} has {int(missing.sum())} values that are NaN or "
                    "infinite; correct them, or pass nan_as_padding=True",
                    where=source.path,
                )
            values[missing] = values[~missing].min(initial=np.inf) if not missing.all() else 0
            padding = missing
        return Pixels(stored, values, padding)


def read_pixels(
    slices: Iterable[Slice], workers: int | None = None
) -> Iterator[tuple[Slice, Pixels | DecodeError]]:
    """Decode slices in parallel and yield them in order, keeping only a few in memory at a time.

    Args:
        slices: Slices, as returned by ``open_studies``.
        workers: Number of processes that decode; by default, those already running are used.

    Yields:
        Each slice with its pixels, or with the error raised while decoding it.
    """
    with workers_for(workers) as pool:

        def decode(batch: Sequence[Slice]) -> list[tuple[Slice, Pixels | DecodeError]]:
            ours = [item for item in batch if isinstance(item.load, PixelLoader)]
            answers = iter(pool.ask_many([item.source for item in ours]))
            return [(item, _decoded(item, answers)) for item in batch]

        for decoded in pool.map(decode, _batches(slices)):
            yield from decoded


def _batches(slices: Iterable[Slice]) -> Iterator[list[Slice]]:
    """Group slices into batches that keep a worker busy but hold few slices in memory."""
    batch: list[Slice] = []
    size = 0
    for item in slices:
        batch.append(item)
        size += item.shape[0] * item.shape[1]
        if size >= _PIXELS_AT_ONCE or len(batch) >= _SLICES_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _decoded(item: Slice, answers: Iterator[Answer]) -> Pixels | DecodeError:
    """Return the pixels of a slice from the next answer, or from its own loader."""
    try:
        if isinstance(item.load, PixelLoader):
            return item.load.pixels(item.source, next(answers))
        return item.pixels()
    except DecodeError as error:
        return error


def _rescale(decoded: Decoded) -> NDArray[np.float32]:
    """Convert stored values to real values, rounding only once."""
    stored, intercept = decoded.stored, decoded.intercept
    small = stored.dtype.kind in "iu" and stored.dtype.itemsize <= 2
    if decoded.slope == 1 and small and intercept.is_integer() and abs(intercept) < 2**23:
        values: NDArray[np.float32] = stored.astype(np.float32)  # sums below 2**24 are exact
        values += np.float32(intercept)
        return values
    real = stored * np.float64(decoded.slope)
    real += intercept
    return real.astype(np.float32)


def pixel_fingerprint(native: Slice, pixels: Pixels) -> str:
    """Hash the content of a slice: its pixels in real units, its padding and its geometry.

    A copy of the file has the same fingerprint, regardless of its name and timestamps.
    """
    header = [native.shape, native.modality, native.inverted, asdict(native.geometry)]
    digest = hashlib.blake2b(json.dumps(header).encode(), digest_size=16)
    for array in (pixels.values, pixels.padding):
        digest.update(b"" if array is None else np.ascontiguousarray(array).data)
    return pseudonym("pixels", digest.hexdigest())


def check_unchanged(
    before: Mapping[str, str], now: Mapping[str, str], files: Mapping[str, Path], where: Path
) -> None:
    """Check that the slices are the same as when a run began.

    Args:
        before: Fingerprints of the slices when the run began, by any key.
        now: Fingerprints of the current slices, by the same key.
        files: Files of the current slices, by the same key.
        where: Folder of the run, for the error message.

    Raises:
        UsageProblem: If a slice has changed, is new, or is missing.
    """
    changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if not changed:
        return
    file = next((str(files[key]) for key in changed if key in files), None)
    more = f" ({len(changed)} slices in all)" if len(changed) > 1 else ""
    reason = f"has changed since the run in {where} began{more}"
    if file is None:
        file = str(where)
        reason = f"{len(changed)} of the slices that its run began with are missing"
    raise UsageProblem(f"{file}: {reason}: restore the data, or start again in another folder")
