"""Where the slices of a run lie in the latent space: each is decoded once and encoded."""

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

from medvae.augmentation._network import BATCH, Network
from medvae.augmentation._scenes import Seen
from medvae.augmentation._sources import Located
from medvae.augmentation._space import Space
from medvae.errors import DecodeError
from medvae.latent import Latents
from medvae.readers import read_pixels
from medvae.render import Scene

__all__ = ["encode", "in_order"]

T = TypeVar("T")
R = TypeVar("R")

Decoded = tuple[Located, Seen, NDArray[np.float32]]
"""A slice, as renders see it, and on the model's canvas."""

Watch = Callable[[Located, Seen, NDArray[np.float32]], None]


def encode(
    items: Sequence[Located],
    network: Network,
    spec: str | None,
    threads: ThreadPoolExecutor,
    *,
    readers: int | None = None,
    watch: Watch | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Space, list[str]]:
    """Encode slices.

    Args:
        items: the slices.
        network: encodes.
        spec: the model's intensity map.
        threads: where it encodes.
        readers: processes that decode pixels; those already running by default.
        watch: is shown each slice, decoded, in order: with it and its canvas.
        progress: is told how many are done.

    Returns:
        Where they lie, and what is wrong with those that cannot be decoded.
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
            seen = Seen(found, Scene.of(item.native, found, network.size, spec))
            yield item, seen, seen.scene.picture()

    def posterior(
        batch: tuple[Decoded, ...],
    ) -> tuple[tuple[Decoded, ...], Latents]:
        natives = [item.native for item, _, _ in batch]
        mu, logvar = network.encode([image for _, _, image in batch])
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
    units = math.prod(network.latent_shape)
    empty = Latents.of([], [], [], torch.zeros(0, units), torch.zeros(0, units))
    space = Latents.concat(parts) if parts else empty
    return Space(space, {item: row for row, item in enumerate(known)}), problems


def _batches(items: Iterator[T]) -> Iterator[tuple[T, ...]]:
    """Yield so many items at a time as go through the network at once."""
    while batch := tuple(islice(items, BATCH)):
        yield batch


def in_order(
    work: Callable[[T], R], tasks: Iterable[T], threads: ThreadPoolExecutor, ahead: int = 4
) -> Iterator[R]:
    """Yield the results of tasks in their order, with only a few of them under way."""
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
