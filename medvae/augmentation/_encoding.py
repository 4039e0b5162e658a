"""Encoding of the slices of a run: each is decoded once and encoded into the latent space."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from medvae.augmentation._plan import BATCH
from medvae.augmentation._scenes import Seen
from medvae.augmentation._sources import Located
from medvae.augmentation._space import Space
from medvae.errors import DecodeError
from medvae.latent import Latents
from medvae.networks import Codec
from medvae.readers import read_pixels
from medvae.render import Scene

__all__ = ["encode", "in_order"]

T = TypeVar("T")
R = TypeVar("R")

Decoded = tuple[Located, Seen, NDArray[np.float32]]
"""A slice, its decoded form for renders, and its image on the model's canvas."""

Watch = Callable[[Located, Seen, NDArray[np.float32]], None]


def encode(
    items: Sequence[Located],
    codec: Codec,
    spec: str | None,
    threads: ThreadPoolExecutor,
    *,
    readers: int | None = None,
    watch: Watch | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Space, list[str]]:
    """Encode slices.

    Args:
        items: Slices to encode.
        codec: Codec that encodes.
        spec: Intensity map of the model.
        threads: Threads that encode.
        readers: Number of processes that decode pixels; by default those already running.
        watch: Called, in order, with each slice, its decoded form and its canvas image.
        progress: Called with (done, total) as slices are decoded.

    Returns:
        The latents of the slices, and the problems of those that cannot be decoded.
    """
    problems: list[str] = []
    known: list[Located] = []
    parts: list[Latents] = []

    def decoded() -> Iterator[Decoded]:
        pixels = read_pixels([item.native for item in items], readers)
        for done, (item, (_, found)) in enumerate(zip(items, pixels, strict=True), 1):
            if progress is not None:
                progress(done, len(items))
            if isinstance(found, DecodeError):
                problems.append(str(found))
                continue
            seen = Seen(found, Scene.of(item.native, found, codec.size, spec))
            yield item, seen, seen.scene.picture()

    def posterior(
        batch: tuple[Decoded, ...],
    ) -> tuple[tuple[Decoded, ...], Latents]:
        natives = [item.native for item, _, _ in batch]
        mu, logvar = codec.encode([image for _, _, image in batch])
        kinds = [frozenset(f.category.name for f in native.labels or ()) for native in natives]
        return batch, Latents.of(
            [native.key for native in natives],
            [native.group for native in natives],
            kinds,
            mu,
            logvar,
        )

    for batch, latents in in_order(posterior, _batches(decoded()), threads):
        for item, seen, image in batch:
            known.append(item)
            if watch is not None:
                watch(item, seen, image)
        parts.append(latents)
    units = math.prod(codec.latent_shape)
    empty = Latents.of([], [], [], torch.zeros(0, units), torch.zeros(0, units))
    space = Latents.concat(parts) if parts else empty
    return Space(space, {item: row for row, item in enumerate(known)}), problems


def _batches(items: Iterator[T]) -> Iterator[tuple[T, ...]]:
    """Yield items in batches of the size that is encoded together."""
    while batch := tuple(islice(items, BATCH)):
        yield batch


def in_order(
    work: Callable[[T], R], tasks: Iterable[T], threads: ThreadPoolExecutor, ahead: int = 4
) -> Iterator[R]:
    """Yield the results of tasks in their order, with only a few tasks in progress at a time."""
    under_way: deque[Future[R]] = deque()
    try:
        for task in tasks:
            under_way.append(threads.submit(work, task))
            if len(under_way) > ahead:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        for future in under_way:
            future.cancel()
