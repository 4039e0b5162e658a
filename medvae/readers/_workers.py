"""A pool of worker processes; a file that crashes, hangs or exhausts one is refused."""

from __future__ import annotations

import atexit
import io
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from queue import LifoQueue
from typing import Any, TypeVar

import numpy as np

from medvae.files import FileReport
from medvae.formats import READERS, Reader
from medvae.readers._contract import Answer, Request
from medvae.readers._limits import SECONDS_PER_ANSWER, default_workers, memory_per_worker
from medvae.records import Source

T = TypeVar("T")
R = TypeVar("R")

_PATIENCE = 3
"""How long a worker may be inactive, as a multiple of the processor time for an answer."""

_PIPE_BYTES = 2**20
"""Size of a pipe: room for a slice, so that a worker need not wait while one is read."""

_STOPPED = "reading was stopped before this file was read"


class Workers(AbstractContextManager["Workers"]):
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
        self._broken: dict[tuple[object, ...], str] = {}
        self._closed = False

    def ask(self, request: Request) -> Answer:
        """Send one request to the first free worker, and return the answer."""
        return self.ask_many([request])[0]

    def ask_many(self, requests: Sequence[Request]) -> list[Answer]:
        """Send requests to one worker, which never waits for the next, and return the answers."""
        answers: list[Answer] = []
        crashed = -1
        worker = self._idle.get()
        try:
            while rest := requests[len(answers) :]:
                path = _path(rest[0])
                why = _STOPPED if self._closed else self._broken.get(_identity(path))
                if why is not None:
                    answers.append(FileReport(path, "refused", why))
                    continue
                try:
                    answers.extend(worker.ask(rest))
                except (TimeoutError, ChildProcessError) as lost:
                    place = len(answers)
                    # The worker may have been killed from outside; only a second crash is due to
                    # the file, which is then not given to others, unless it has changed since.
                    if not self._closed and (isinstance(lost, TimeoutError) or place == crashed):
                        path = _path(requests[place])
                        self._broken[_identity(path)] = str(lost)
                        answers.append(FileReport(path, "refused", str(lost)))
                    crashed = place
        finally:
            self._idle.put(worker)
        return answers

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


class _Worker:
    """One process, started on the first request and again after it was lost."""

    def __init__(self, memory: int, seconds: float) -> None:
        self._memory = memory
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._readers: dict[str, Reader] = {}

    def ask(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """Send all requests at once, and yield the answers as they arrive.

        Raises:
            TimeoutError: If the worker was lost over a request because it took too long.
            ChildProcessError: If the process ended before it answered.
        """
        if self._readers != READERS:
            self.end()  # it was started before a reader was registered
        try:
            process = self._process or self._start()
            _send(process, requests)
            for _ in requests:
                arrays = [np.empty(size, np.uint8) for size in pickle.load(self._answers)]
                for array in arrays:
                    self._answers.readinto(array.data)
                yield pickle.load(self._answers, buffers=arrays)
        except (BrokenPipeError, EOFError, pickle.UnpicklingError):
            code = self.end()
            if code == -signal.SIGPROF:
                raise TimeoutError(
                    "reading it takes more processor time than is allowed for its size"
                ) from None
            raise ChildProcessError(
                f"it crashed the process that read it (exit code {code})"
            ) from None
        except BaseException:
            self.end()  # a partly read answer would be mistaken for the next one
            raise

    def kill(self) -> None:
        """Kill the process, possibly while another thread waits for its answer."""
        if self._process is not None:
            self._process.kill()

    def end(self) -> int | None:
        """End the process and return its exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        with process:
            process.kill()
        return process.returncode

    def _start(self) -> subprocess.Popen[bytes]:
        arguments = [str(self._memory), str(self._seconds)]
        self._process = subprocess.Popen(
            # -P: nothing may be imported from the user's current folder.
            [sys.executable, "-P", "-m", "medvae.readers._worker", *arguments],
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
        self._answers = io.BufferedReader(_Output(self._process, _PATIENCE * self._seconds))
        self._readers = dict(READERS)
        _send(self._process, [self._readers])
        return self._process


def _send(process: subprocess.Popen[bytes], objects: Iterable[object]) -> None:
    assert process.stdin is not None
    data = b"".join(map(pickle.dumps, objects))
    while data:
        data = data[os.write(process.stdin.fileno(), data) :]


class _Output(io.RawIOBase):
    """The output of a worker; reading fails if the worker hangs.

    A worker that uses the processor, or waits for one, does not hang, however long it takes.

    Args:
        process: Process of the worker.
        patience: Number of seconds for which the process may be inactive.
    """

    def __init__(self, process: subprocess.Popen[bytes], patience: float) -> None:
        assert process.stdout is not None
        self._pipe = process.stdout.fileno()
        self._status = Path(f"/proc/{process.pid}/stat")
        self._patience = patience

    def readable(self) -> bool:
        """Return whether the stream can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what is there into a buffer.

        Raises:
            TimeoutError: If the process has slept for too long and used no processor time.
        """
        ready = select.poll()
        ready.register(self._pipe, select.POLLIN)
        since, before = time.monotonic(), [""]
        while not ready.poll(min(self._patience / 8, 1.0) * 1000):
            state, *used = self._activity()
            if state not in "SD" or used != before:
                since, before = time.monotonic(), used
            elif time.monotonic() - since > self._patience:
                raise TimeoutError(f"reading it made no progress for {self._patience:g} seconds")
        return os.readv(self._pipe, [buffer])

    def _activity(self) -> list[str]:
        """Return the state of the process and the processor time it has used so far."""
        with suppress(OSError):  # not available on some systems
            fields = self._status.read_text().rpartition(")")[2].split()
            return [fields[0], *fields[11:13]]
        return ["S"]


def _import_paths() -> list[str]:
    """Return the import paths of this process, without the current folder, for a worker."""
    here, package = Path.cwd(), Path(__file__).resolve().parents[2]
    others = (path for path in sys.path if Path(path).is_absolute() and Path(path) != here)
    return [str(package), *others]


def _path(request: Request) -> Path:
    return request.path if isinstance(request, Source) else request


def _identity(path: Path) -> tuple[object, ...]:
    """Return a key that changes when a file is replaced by another."""
    try:
        status = path.stat()
    except OSError:
        return (path,)
    return (path, status.st_mtime_ns, status.st_size)
