"""The pool of worker processes, in which a crash, a hang or a memory blow-up costs one file."""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import LifoQueue
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from medvae.readers._limits import MEMORY_PER_WORKER, SECONDS_PER_ANSWER

__all__ = ["Reply", "Workers", "shared_workers", "workers_for"]

T = TypeVar("T")
R = TypeVar("R")

MAX_WORKERS = 8

_PIPE_BYTES = 2**20
"""Room for a slice in a pipe, so that a worker need not wait while one is taken out."""


@dataclass
class Reply:
    """What came of one request: ``outcome`` and ``reason`` are set where it failed."""

    data: dict[str, Any]
    arrays: list[NDArray[Any]] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether the file was skipped or refused."""
        return "outcome" in self.data


class Workers:
    """Worker processes that read headers and decode slices.

    Args:
        count: how many; by default one for each processor, eight at most.
        seconds: how long one answer may take.
        memory: bytes of address space that each may take.
    """

    def __init__(
        self,
        count: int | None = None,
        seconds: float = SECONDS_PER_ANSWER,
        memory: int = MEMORY_PER_WORKER,
    ) -> None:
        self.count = count or min(os.cpu_count() or 1, MAX_WORKERS)
        self.seconds = seconds
        # Last in, first out: slices asked for one by one find their file still open.
        self._idle: LifoQueue[_Worker] = LifoQueue()
        for _ in range(self.count):
            self._idle.put(_Worker(memory))
        self._threads = ThreadPoolExecutor(self.count, thread_name_prefix="medvae-reader")
        self._broken: dict[str, Reply] = {}

    def ask(self, request: dict[str, Any]) -> Reply:
        """Have one request answered by the first worker that is free."""
        known = self._broken.get(request["path"])
        if known is not None:
            return known
        worker = self._idle.get()
        try:
            return worker.ask(request, self.seconds)
        except _Lost as lost:
            # A file that has cost a worker once is not given to another.
            reply = Reply({"outcome": "refused", "reason": str(lost)})
            self._broken[request["path"]] = reply
            return reply
        finally:
            self._idle.put(worker)

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Call a function that asks, in as many threads as there are workers.

        Results come in order, and only a few are held at a time.
        """
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(self._threads.submit(function, item))
                if len(waiting) > 2 * self.count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def close(self) -> None:
        """End the processes."""
        self._threads.shutdown(cancel_futures=True)
        while not self._idle.empty():
            self._idle.get().end()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


_shared: tuple[int, Workers] | None = None
_shared_lock = threading.Lock()


def shared_workers() -> Workers:
    """Return the workers of this process, started when first needed."""
    global _shared
    with _shared_lock:
        # A forked child must not talk to its parent's workers.
        if _shared is None or _shared[0] != os.getpid():
            _shared = (os.getpid(), Workers())
            atexit.register(_shared[1].close)
        return _shared[1]


@contextmanager
def workers_for(count: int | None) -> Iterator[Workers]:
    """Give so many workers for a while, or those of this process where no number is asked for."""
    if count is None:
        yield shared_workers()
        return
    with Workers(count) as workers:
        yield workers


class _Lost(Exception):
    """The worker was lost over a file; the message says how."""


class _Worker:
    """One process, started when it is first asked and again after it was lost."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: dict[str, Any], seconds: float) -> Reply:
        process = self._process or self._start()
        deadline = time.monotonic() + seconds
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            length = int.from_bytes(self._receive(4, deadline), "little")
            data = json.loads(self._receive(length, deadline))
            arrays = []
            for dtype, shape in data.get("arrays", ()):
                array: NDArray[Any] = np.empty(shape, np.dtype(dtype))
                self._receive_into(array.data.cast("B"), deadline)
                arrays.append(array)
            return Reply(data, arrays)
        except TimeoutError:
            self.end()
            raise _Lost(f"it was not read within {seconds:g} seconds") from None
        except (BrokenPipeError, EOFError):
            code = self.end()
            raise _Lost(f"it crashed the process that read it (exit code {code})") from None
        except BaseException:
            self.end()  # an answer left half read would be taken for the next one
            raise

    def end(self) -> int | None:
        """End the process and return its exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.kill()
        with process:
            pass
        return process.returncode

    def _start(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "medvae.readers._worker", str(self._memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(sys.path),
                "OPENBLAS_NUM_THREADS": "1",
                "OMP_NUM_THREADS": "1",
            },
            start_new_session=True,
            pipesize=_PIPE_BYTES,
        )
        return self._process

    def _receive(self, length: int, deadline: float) -> bytes:
        data = bytearray(length)
        self._receive_into(memoryview(data), deadline)
        return bytes(data)

    def _receive_into(self, view: memoryview, deadline: float) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        ready = select.poll()
        ready.register(pipe, select.POLLIN)
        while view:
            if not ready.poll(max(deadline - time.monotonic(), 0) * 1000):
                raise TimeoutError
            count = os.readv(pipe, [view])
            if not count:
                raise EOFError
            view = view[count:]
