"""Engine that runs the stages of an augmentation on Ray, on one machine or many."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from medvae.errors import ReadError, UsageProblem

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 2
"""Items that a worker has at a time, so that it need not wait for the next one."""

_LOSSES = 3
"""Number of workers that may be lost with the same item, or while they start."""

_STARTING = 900.0
"""Seconds within which one of the workers must have started."""

_ANSWERING = 10.0
"""Seconds within which a cluster must answer."""

_FINISHING = 120.0
"""Seconds that items in progress are given to finish when a run ends early."""


class _Stage:
    """A stage in a process of its own, which is opened once and applied to many items.

    Args:
        stage: Stage to apply.
        folder: Working folder of the run, which paths may be relative to.
        secret: Value of ``MEDVAE_SECRET``; None if it is not set.
    """

    def __init__(self, stage: Callable[[Any], Any], folder: str, secret: str | None) -> None:
        # Each process computes alone: a product split over several would be rounded differently.
        torch.set_num_threads(1)
        os.chdir(folder)
        if secret is not None:
            os.environ["MEDVAE_SECRET"] = secret
        self._stage = stage

    def opened(self) -> None:
        """Return when the stage can be applied."""

    def apply(self, item: Any) -> Any:
        """Return the result of the stage for an item."""
        return self._stage(item)


@dataclass(frozen=True)
class _Lost:
    """What comes of an item instead of a result if its worker is lost."""

    reason: str


@dataclass(eq=False)
class _RayWorker:
    """An actor of Ray.

    Attributes:
        actor: The actor, which holds the stage.
        tasks: What it has been asked for, in order: the index of each item; -1 while it opens the
            stage.
        heard: Time at which it was started, returned a result, or was given an item when it had
            none.
    """

    actor: Any
    tasks: dict[Any, int] = field(default_factory=dict)
    heard: float = field(default_factory=time.monotonic)

    @property
    def opening(self) -> bool:
        """Whether the worker is still waiting for a place in the cluster, or opening the stage."""
        return -1 in self.tasks.values()


class RayEngine(AbstractContextManager["RayEngine"]):
    """Engine whose workers are actors of Ray; all machines share the file system of the run.

    A worker that is lost, or returns nothing for too long, costs the items that it had; other
    workers take them over.

    Args:
        workers: Number of workers; by default one per processor of the cluster.
        address: Address of a running cluster, such as ``auto``; None starts Ray on this machine.
        gpus_per_worker: Number of GPUs that a worker uses, or the fraction of one.
        patience: Seconds without a result after which a worker is given up.

    Raises:
        UsageProblem: If Ray is not installed, or there is no cluster at the address.
    """

    def __init__(
        self,
        workers: int | None = None,
        address: str | None = None,
        gpus_per_worker: float = 0.0,
        patience: float = 900.0,
    ) -> None:
        self._ray, self._own = _connected(workers, address)
        self._count = workers or max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        self._actor = self._ray.remote(num_cpus=1, num_gpus=gpus_per_worker)(_Stage)
        self._patience = patience
        self._workers: list[_RayWorker] = []

    def run(
        self, stage: Callable[[T], R], items: Sequence[T], finish: Callable[[int, R], None]
    ) -> Iterator[int]:
        """Apply a stage to items, only a few of which are in progress at a time."""
        opened = (self._ray.put(stage), str(Path.cwd()), os.environ.get("MEDVAE_SECRET"))
        self._workers = [self._start(opened) for _ in range(min(self._count, len(items)))]
        waiting, losses = deque(range(len(items))), Counter[int]()
        finished: set[int] = set()
        done = 0
        while done < len(items):
            self._assign(waiting, items)
            for worker, index, result in self._results():
                if not isinstance(result, _Lost):
                    if index >= 0:
                        finish(index, result)
                        finished.add(index)
                    continue
                losses[index] += 1
                if losses[index] == _LOSSES:
                    what = "a batch cannot be processed" if index >= 0 else "no worker can start"
                    raise ReadError(f"{what}: {_LOSSES} workers were lost: {result.reason}")
                waiting.extendleft(
                    sorted((i for i in worker.tasks.values() if i >= 0), reverse=True)
                )
                self._stop([worker])
                self._workers.append(self._start(opened))
            while done in finished:
                yield done
                done += 1
        self._stop(self._workers)

    def _start(self, opened: tuple[Any, str, str | None]) -> _RayWorker:
        actor = self._actor.remote(*opened)
        return _RayWorker(actor, {actor.opened.remote(): -1})

    def _assign(self, waiting: deque[int], items: Sequence[Any]) -> None:
        """Give items to workers that have fewer than they may have."""
        for depth in range(1, _AHEAD + 1):
            for worker in self._workers:
                if waiting and not worker.opening and len(worker.tasks) < depth:
                    index = waiting.popleft()
                    if not worker.tasks:
                        worker.heard = time.monotonic()
                    worker.tasks[worker.actor.apply.remote(items[index])] = index

    def _results(self) -> Iterator[tuple[_RayWorker, int, Any]]:
        """Yield what workers have done within a second, or what became of workers that are lost.

        Raises:
            MedvaeError: If a stage raises it.
        """
        asked = {task: worker for worker in self._workers for task in worker.tasks}
        found, _ = self._ray.wait(list(asked), timeout=1.0)
        for task in found:
            worker = asked[task]
            if worker not in self._workers:
                continue  # it was lost with another of its items
            index = worker.tasks[task]
            try:
                result = self._ray.get(task)
            except self._ray.exceptions.RayTaskError as error:
                raise error.cause from error
            except self._ray.exceptions.RayError as error:
                lines = str(error).strip().splitlines()
                yield worker, index, _Lost(lines[-1] if index < 0 else lines[0])
                continue
            del worker.tasks[task]
            worker.heard = time.monotonic()
            yield worker, index, result
        # A cluster may be too small for all workers, so that some of them wait for a place.
        none_open = all(worker.opening for worker in self._workers)
        for worker in list(self._workers):
            if not worker.tasks or (worker.opening and not none_open):
                continue
            patience = _STARTING if worker.opening else self._patience
            if time.monotonic() - worker.heard > patience:
                silence = f"a worker has returned nothing for {patience:g} seconds"
                yield worker, next(iter(worker.tasks.values())), _Lost(silence)

    def _stop(self, workers: Sequence[_RayWorker]) -> None:
        """Stop workers; what they are doing is lost."""
        for worker in workers:
            self._ray.kill(worker.actor)
        self._workers = [worker for worker in self._workers if worker not in workers]

    def __exit__(self, *exception: object) -> None:
        # Finish the items in progress: nothing may be written after the folder is released.
        tasks = [task for worker in self._workers for task in worker.tasks if not worker.opening]
        try:
            if tasks:
                self._ray.wait(tasks, num_returns=len(tasks), timeout=_FINISHING)
        finally:
            self._stop(self._workers)
            if self._own:
                self._ray.shutdown()


def _connected(workers: int | None, address: str | None) -> tuple[Any, bool]:
    """Return Ray, connected to a cluster or started on this machine, and whether it must be shut.

    Unless the environment says otherwise, Ray asks for a token, sends no statistics of its use and
    offers no dashboard.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if "ray" not in sys.modules:  # it looks for this variable only once
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray
    except ImportError as error:
        raise UsageProblem(
            "ray is not installed; install it by: pip install 'monai-medvae[ray]'",
            parameter="engine",
        ) from error
    if ray.is_initialized():
        return ray, False
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    try:
        if address is None:
            ray.init("local", num_cpus=workers, include_dashboard=False, **quiet)
        else:
            _check_address(address)
            ray.init(address, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageProblem(f"cannot connect to {address}: {reason}", parameter="address") from error
    return ray, True


def _check_address(address: str) -> None:
    """Check that something listens at an address: Ray itself would try for minutes.

    Raises:
        OSError: If nothing does.
    """
    host, _, port = address.rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=_ANSWERING).close()
