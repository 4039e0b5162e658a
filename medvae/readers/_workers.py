"""A pool of worker processes; a file that crashes, hangs or exhausts one is refused."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import LifoQueue
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from medvae.formats import READERS, Reader, readers_to_json
from medvae.readers._limits import SECONDS_PER_ANSWER, default_workers, memory_per_worker

Request = dict[str, Any]
"""A task, the path of a file, and the other parameters of the task; see ``_worker``."""

T = TypeVar("T")
R = TypeVar("R")

_PATIENCE = 3
"""How long a worker may be inactive, as a multiple of the processor time for an answer."""

_PIPE_BYTES = 2**20
"""Size of a pipe: room for a slice, so that a worker need not wait while one is read."""


@dataclass
class Reply:
    """The result of one request; ``data`` has ``outcome`` and ``reason`` if it failed."""

    data: dict[str, Any]
    arrays: list[NDArray[Any]] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether the file was skipped or refused."""
        return "outcome" in self.data


_STOPPED = Reply({"outcome": "refused", "reason": "reading was stopped before this file was read"})


class Workers:
    """A pool of worker processes that read headers and decode slices.

    Args:
        count: Number of workers; by default one per processor, at most eight, and fewer if memory
            is short.
        seconds: Processor time that one answer may take; large volumes are given more.
        memory: Bytes of memory that a file may take in each worker; by default an even share of
            half of the machine's memory.
    """

    def __init__(
        self,
        count: int | None = None,
        seconds: float = SECONDS_PER_ANSWER,
        memory: int | None = None,
    ) -> None:
        self.count = count or default_workers()
        share = memory_per_worker(self.count) if memory is None else memory
        # Last in, first out: slices requested one by one find their file still open.
        self._idle: LifoQueue[_Worker] = LifoQueue()
        self._workers = [_Worker(share, seconds) for _ in range(self.count)]
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(self.count, thread_name_prefix="medvae-reader")
        self._broken: dict[tuple[object, ...], Reply] = {}
        self._closed = False

    def ask(self, request: Request) -> Reply:
        """Send one request to the first free worker, and return the reply."""
        return self.ask_many([request])[0]

    def ask_many(self, requests: Sequence[Request]) -> list[Reply]:
        """Send requests to one worker, which never waits for the next, and return the replies."""
        replies: list[Reply] = []
        worker = self._idle.get()
        try:
            while len(replies) < len(requests):
                request = requests[len(replies)]
                known = _STOPPED if self._closed else self._broken.get(_identity(request["path"]))
                if known is not None:
                    replies.append(known)
                    continue
                try:
                    for reply in worker.ask(requests[len(replies) :]):
                        replies.append(reply)
                except _Lost as lost:
                    replies.append(self._again(worker, requests[len(replies)], lost))
        finally:
            self._idle.put(worker)
        return replies

    def _again(self, worker: _Worker, request: Request, lost: _Lost) -> Reply:
        """Repeat the request over which a worker was lost, unless it took too long."""
        if self._closed:
            return _STOPPED
        if isinstance(lost, _Crashed):
            # The worker may have been killed from outside; only a second crash is due to the file.
            try:
                (reply,) = worker.ask([request])
                return reply
            except _Lost as twice:
                lost = twice
        # A file that has ended workers is not given to others, unless it has changed since.
        reply = Reply({"outcome": "refused", "reason": str(lost)})
        self._broken[_identity(request["path"])] = reply
        return reply

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Call a function that sends requests, in as many threads as there are workers.

        Results are yielded in order, and only a few are held at a time.
        """
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(self._threads.submit(function, item))
                if len(waiting) > self.count + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except KeyboardInterrupt:
            self.close()  # no one waits for the replies any more
            raise
        finally:
            for future in waiting:
                future.cancel()

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        if self._closed:
            return
        self._closed = True
        for worker in self._workers:
            worker.kill()
        self._threads.shutdown(cancel_futures=True)
        for _ in self._workers:
            self._idle.get().end()  # after its user has noticed that it was killed

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


_shared: tuple[int, Workers] | None = None
_shared_lock = threading.Lock()


def shared_workers() -> Workers:
    """Return the workers of this process, which are started on first use."""
    global _shared
    with _shared_lock:
        # A forked child must not use its parent's workers, and closed ones cannot be used.
        if _shared is None or _shared[0] != os.getpid() or _shared[1]._closed:
            _shared = (os.getpid(), Workers())
            atexit.register(_shared[1].close)
        return _shared[1]


@contextmanager
def workers_for(count: int | None) -> Iterator[Workers]:
    """Provide ``count`` workers for a context, or those of this process if ``count`` is None."""
    if count is None:
        yield shared_workers()
        return
    with Workers(count) as workers:
        yield workers


class _Lost(Exception):
    """Raised when a worker is lost over a file; the message states how."""


class _Crashed(_Lost):
    """Raised when the process ends before it answers."""


class _Worker:
    """One process, started on the first request and again after it was lost."""

    def __init__(self, memory: int, seconds: float) -> None:
        self._memory = memory
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._readers: dict[str, Reader] = {}

    def ask(self, requests: Sequence[Request]) -> Iterator[Reply]:
        """Send all requests at once, and yield the replies as they arrive."""
        if self._readers != READERS:
            self.end()  # it was started before a reader was registered
        process = self._process or self._start()
        patience = _PATIENCE * self._seconds
        try:
            self._send(process, b"".join(json.dumps(r).encode() + b"\n" for r in requests))
            for _ in requests:
                yield self._answer(_Watch(process.pid, patience))
        except TimeoutError:
            self.end()
            raise _Lost(f"reading it made no progress for {patience:g} seconds") from None
        except (BrokenPipeError, EOFError):
            code = self.end()
            if code == -signal.SIGPROF:
                raise _Lost(
                    "reading it takes more processor time than is allowed for its size"
                ) from None
            raise _Crashed(f"it crashed the process that read it (exit code {code})") from None
        except BaseException:
            self.end()  # a partly read answer would be mistaken for the next one
            raise

    def _answer(self, watch: _Watch) -> Reply:
        length = int.from_bytes(self._receive(4, watch), "little")
        data = json.loads(self._receive(length, watch))
        arrays = []
        for dtype, shape in data.get("arrays", ()):
            array: NDArray[Any] = np.empty(shape, np.dtype(dtype))
            self._receive_into(array.data.cast("B"), watch)
            arrays.append(array)
        return Reply(data, arrays)

    def kill(self) -> None:
        """Kill the process, possibly while another thread waits for its answer."""
        if self._process is not None:
            self._process.kill()

    def end(self) -> int | None:
        """End the process and return its exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.kill()
        with process:
            pass
        return process.returncode

    @property
    def _arguments(self) -> list[str]:
        return [str(self._memory), str(self._seconds), readers_to_json()]

    def _start(self) -> subprocess.Popen[bytes]:
        self._readers = dict(READERS)
        self._process = subprocess.Popen(
            # -P: nothing may be imported from the user's current folder.
            [sys.executable, "-P", "-m", "medvae.readers._worker", *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd=os.sep,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(_import_paths()),
                "OPENBLAS_NUM_THREADS": "1",
                "OMP_NUM_THREADS": "1",
            },
            start_new_session=True,
            pipesize=_PIPE_BYTES,
        )
        return self._process

    def _send(self, process: subprocess.Popen[bytes], line: bytes) -> None:
        assert process.stdin is not None
        while line:
            line = line[os.write(process.stdin.fileno(), line) :]

    def _receive(self, length: int, watch: _Watch) -> bytes:
        data = bytearray(length)
        self._receive_into(memoryview(data), watch)
        return bytes(data)

    def _receive_into(self, view: memoryview, watch: _Watch) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        ready = select.poll()
        ready.register(pipe, select.POLLIN)
        while view:
            if not ready.poll(watch.step * 1000):
                watch.look()
                continue
            count = os.readv(pipe, [view])
            if not count:
                raise EOFError
            view = view[count:]


class _Watch:
    """A watch that distinguishes a hanging process from one that works or waits for a processor.

    Args:
        process: Process ID.
        seconds: Number of seconds for which the process may be inactive.

    Attributes:
        step: Interval between checks, in seconds.
    """

    def __init__(self, process: int, seconds: float) -> None:
        self.step = min(seconds / 8, 1.0)
        self._status = Path(f"/proc/{process}/stat")
        self._seconds = seconds
        self._since = time.monotonic()
        self._used = ""

    def look(self) -> None:
        """Check whether the process has been active since the last check.

        Raises:
            TimeoutError: If the process has slept for too long and used no processor time.
        """
        state, used = self._activity()
        if state not in "SD" or used != self._used:
            self._since, self._used = time.monotonic(), used
        elif time.monotonic() - self._since > self._seconds:
            raise TimeoutError

    def _activity(self) -> tuple[str, str]:
        """Return the state of the process and the processor time it has used so far."""
        try:
            fields = self._status.read_text().rpartition(")")[2].split()
        except OSError:  # not available on some systems
            return "S", ""
        return fields[0], " ".join(fields[11:13])


def _import_paths() -> list[str]:
    """Return the import paths of this process, without the current folder, for a worker."""
    here = Path.cwd()
    package = str(Path(__file__).resolve().parents[2])
    return [
        package,
        *(path for path in sys.path if Path(path).is_absolute() and Path(path) != here),
    ]


def _identity(path: str) -> tuple[object, ...]:
    """Return a key that changes when a file is replaced by another."""
    try:
        status = Path(path).stat()
    except OSError:
        return (path,)
    return (path, status.st_mtime_ns, status.st_size)
