"""The worker process, which reads headers and decodes slices of untrusted files.

Requests are lines of JSON on standard input. Each answer on standard output is the length of a
line of JSON, the line, and the bytes of the arrays that it announces. The worker answers each
request once, and ends when standard input does.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from medvae.files import Outcome
from medvae.readers._decoded import Decoded
from medvae.readers._headers import Refused, Skipped
from medvae.readers._limits import LIBRARIES
from medvae.readers._plain import read_plain
from medvae.readers._sniff import HEAD, sniff

Answer = tuple[dict[str, Any], list[Any]]
Decode = Callable[[int, int, int], Decoded]


class Reader:
    """A reader that answers requests; the last file stays open for its remaining slices."""

    def __init__(self) -> None:
        self._opened: tuple[object, Decode] | None = None

    def header(self, request: dict[str, Any]) -> Answer:
        """Describe a file by its header."""
        path = Path(request["path"])
        with path.open("rb") as file:
            head = file.read(HEAD)
        found = _format(sniff(head)).describe(path, head)
        return {"header": found.to_json()}, []

    def pixels(self, request: dict[str, Any]) -> Answer:
        """Decode one slice."""
        path, layout = Path(request["path"]), request.get("layout")
        if layout is None:
            decode = self._open(path, request["format"])
            decoded = decode(request["frame"], request["axis"], request["time"])
        else:
            decoded = read_plain(path, layout, request["frame"])
        arrays = [a for a in (decoded.stored, decoded.values) if a is not None]
        arrays = [np.ascontiguousarray(array) for array in arrays]
        return {
            "slope": decoded.slope,
            "intercept": decoded.intercept,
            "padding": decoded.padding,
            "arrays": [[array.dtype.str, array.shape] for array in arrays],
        }, arrays

    def _open(self, path: Path, format_name: str) -> Decode:
        status = path.stat()
        key = (path, status.st_mtime_ns, status.st_size)
        if self._opened is None or self._opened[0] != key:
            self._opened = None  # release the last file before this one takes memory
            self._opened = (key, _format(format_name).open_frames(path))
        return self._opened[1]


def answer(reader: Reader, request: dict[str, Any]) -> Answer:
    """Answer one request; any failure to read the file becomes an answer, too."""
    try:
        return getattr(reader, request["task"])(request)  # type: ignore[no-any-return]
    except Skipped as skipped:
        return _not_read("skipped", skipped)
    except Refused as refused:
        return _not_read("refused", refused)
    except MemoryError:
        return _not_read("refused", "it takes more memory than one file may")
    except OSError as error:
        return _not_read("refused", error.strerror or error)
    except (KeyboardInterrupt, SystemExit):
        raise
    # Decoders may raise anything; those built with pyo3 raise more than Exception.
    except BaseException as error:
        return _not_read("refused", f"it cannot be decoded: {error or type(error).__name__}")


def _not_read(outcome: Outcome, reason: object) -> Answer:
    return {"outcome": outcome, "reason": " ".join(str(reason).split())[:400]}, []


def serve(requests: BinaryIO, answers: BinaryIO, seconds: float) -> None:
    """Answer requests until there are no more.

    Args:
        requests, answers: Streams to read from and to write to.
        seconds: Processor time for each answer; the system ends a process that takes more.
    """
    reader = Reader()
    for line in requests:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        reply, arrays = answer(reader, json.loads(line))
        signal.setitimer(signal.ITIMER_PROF, 0)
        text = json.dumps(reply).encode()
        answers.write(len(text).to_bytes(4, "little") + text)
        for array in arrays:
            answers.write(memoryview(array).cast("B"))
        answers.flush()


def _format(name: str) -> Any:
    return import_module(f"medvae.readers._{name}")


def _limit_memory(size: int) -> None:
    """Limit the memory that files may take to ``size`` bytes, in addition to the libraries."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    size += LIBRARIES
    if hard != resource.RLIM_INFINITY:
        size = min(size, hard)
    resource.setrlimit(resource.RLIMIT_AS, (size, hard))


def main() -> None:
    """Run the worker on standard input and output."""
    _limit_memory(int(sys.argv[1]))
    warnings.simplefilter("ignore")
    # Libraries print messages about a file, which must not be mixed with the answers.
    answers = os.fdopen(os.dup(1), "wb", buffering=2**16)
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers, float(sys.argv[2]))


if __name__ == "__main__":
    main()
