"""Pixels of slices: asked of the worker processes, given real values and a padding mask."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from medvae.errors import DecodeError
from medvae.readers._workers import Reply, Workers, shared_workers
from medvae.records import Pixels, Slice, Source

__all__ = ["PixelLoader", "read_pixels", "request_for"]


class PixelLoader:
    """Decodes the slice of a source; what ``Slice.load`` is for slices that were read.

    Args:
        nan_as_padding: take NaN for padding instead of refusing the slice.
    """

    def __init__(self, nan_as_padding: bool = False) -> None:
        self.nan_as_padding = nan_as_padding

    def __call__(self, source: Source) -> Pixels:
        return self.pixels(source, shared_workers().ask(request_for(source)))

    def pixels(self, source: Source, reply: Reply) -> Pixels:
        """Turn what a worker answered into pixels.

        Raises:
            DecodeError: the worker could not decode them, or they hold NaN.
        """
        if reply.failed:
            raise DecodeError(f"{source.path}: {reply.data['reason']}")
        stored = reply.arrays[0]
        if len(reply.arrays) > 1:
            values = reply.arrays[1]
        elif reply.data["slope"] == 1 and reply.data["intercept"] == 0:
            values = stored.astype(np.float32)
        else:
            # In double precision first: a product of large numbers must round only once.
            values = stored * np.float64(reply.data["slope"])
            values += reply.data["intercept"]
            values = values.astype(np.float32)
        padding = None
        if reply.data["padding"] is not None:
            low, high = reply.data["padding"]
            padding = (stored >= low) & (stored <= high)
        if stored.dtype.kind == "f":
            missing = ~np.isfinite(values)
            if missing.any():
                if not self.nan_as_padding:
                    raise DecodeError(
                        f"{source.path}: slice {source.frame} has {int(missing.sum())} values that "
                        "are NaN or infinite: clean it, or have them taken for padding"
                    )
                values[missing] = values[~missing].min(initial=np.inf) if not missing.all() else 0
                padding = missing
        return Pixels(stored, values, padding)


def read_pixels(
    slices: Iterable[Slice], workers: int | None = None
) -> Iterator[tuple[Slice, Pixels | DecodeError]]:
    """Decode slices in parallel and give them in order, a few held in memory at a time.

    Args:
        slices: as they come from ``open_studies``.
        workers: how many processes decode; those already running by default.

    Yields:
        Each slice with its pixels, or with the error that decoding it gave.
    """
    pool = shared_workers() if workers is None else Workers(workers)
    asked: list[Slice] = []

    def requests() -> Iterator[dict[str, Any]]:
        for item in slices:
            asked.append(item)
            yield request_for(item.source)

    try:
        for reply in pool.ask_all(requests()):
            item = asked.pop(0)
            loader = item.load if isinstance(item.load, PixelLoader) else PixelLoader()
            try:
                yield item, loader.pixels(item.source, reply)
            except DecodeError as error:
                yield item, error
    finally:
        if workers is not None:
            pool.close()


def request_for(source: Source) -> dict[str, Any]:
    """Return what to ask a worker for the pixels of a source."""
    return {
        "task": "pixels",
        "path": str(source.path),
        "format": source.format,
        "frame": source.frame,
        "axis": source.axis,
        "time": source.time,
    }
