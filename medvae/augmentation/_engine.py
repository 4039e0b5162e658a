"""Engines, which run the stages of an augmentation."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

import torch

from medvae.augmentation._ray_engine import RayEngine
from medvae.errors import UsageProblem, check_choice

T = TypeVar("T")
R = TypeVar("R")


class Engine(Protocol):
    """What applies a stage to its items.

    A stage is a picklable callable, which each worker opens once. What it returns for an item
    depends on that item alone, so every engine gives the same results.
    """

    def run(
        self, stage: Callable[[T], R], items: Sequence[T], finish: Callable[[int, R], None]
    ) -> Iterator[int]:
        """Apply a stage to items.

        Args:
            stage: Stage to apply.
            items: Items, independent of each other.
            finish: Called with the index and the result of an item as soon as it is done, in any
                order and from any thread.

        Yields:
            The index of each item in order, after it is finished.
        """


class LocalEngine(AbstractContextManager["LocalEngine"]):
    """Engine that uses threads of this process; files are decoded by reader processes.

    Args:
        workers: Number of threads; by default one per processor.
    """

    def __init__(self, workers: int | None = None) -> None:
        count = workers or os.cpu_count() or 1
        self._ahead = 2 * count
        # Each thread computes alone: a product split over several would be rounded differently.
        self._threads = ThreadPoolExecutor(
            count,
            thread_name_prefix="medvae-augment",
            initializer=torch.set_num_threads,
            initargs=(1,),
        )

    def run(
        self, stage: Callable[[T], R], items: Sequence[T], finish: Callable[[int, R], None]
    ) -> Iterator[int]:
        """Apply a stage to items, only a few of which are in progress at a time."""
        started: deque[Future[None]] = deque()
        done = 0

        def work(index: int) -> None:
            # An interrupt reaches only the main thread, so that a result cannot be lost here.
            finish(index, stage(items[index]))

        try:
            for index in range(len(items)):
                started.append(self._threads.submit(work, index))
                while len(started) > self._ahead or (started and index == len(items) - 1):
                    started.popleft().result()
                    yield done
                    done += 1
        finally:
            for future in started:
                future.cancel()

    def __exit__(self, *exception: object) -> None:
        # Finish the items in progress: nothing may be written after the folder is released.
        while True:
            try:
                self._threads.shutdown(cancel_futures=True)
                return
            except KeyboardInterrupt:
                continue


def open_engine(
    name: str, workers: int | None, address: str | None, gpus_per_worker: float
) -> LocalEngine | RayEngine:
    """Return the engine that a user asks for; the arguments are those of ``augment``.

    Raises:
        UsageProblem: If there is no such engine, or an argument does not apply to it.
    """
    check_choice([name], ("local", "ray"), "engine", "engine")
    if name == "ray":
        return RayEngine(workers, address, gpus_per_worker)
    for parameter, value in (("address", address), ("gpus_per_worker", gpus_per_worker)):
        if value:
            raise UsageProblem("applies to the engine ray only", parameter=parameter)
    return LocalEngine(workers)
