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
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from medvae.files import Outcome
from medvae.formats import HEAD, Reader, readers_from_json
from medvae.gzips import GZIP
from medvae.readers._contract import (
    UNKNOWN_FORMAT,
    Decode,
    Decoded,
    FileRefused,
    FileSkipped,
    FormatReader,
)
from medvae.readers._limits import LIBRARIES

Answer = tuple[dict[str, Any], list[Any]]


_OTHERS = {
    GZIP: "it is gzip-compressed but not NIfTI; unpack it first",
    b"PK\x03\x04": "it is a zip archive; unpack it first",
    b"%PDF": "it is a PDF document",
    b"GIF8": "it is a GIF image; convert it to PNG",
    b"MM\0+": "it is a big-endian BigTIFF; convert it to TIFF",
    b"BM": "it is a BMP image; convert it to PNG",
}
"""Beginnings of files in other formats, and why they are skipped."""


class Service:
    """The answers of a worker; the last file stays open for its remaining slices.

    Args:
        readers: Readers of the formats, by name, in the order in which they are tried.
    """

    def __init__(self, readers: Mapping[str, Reader]) -> None:
        self._readers = readers
        self._opened: tuple[object, Decode] | None = None

    def header(self, request: dict[str, Any]) -> Answer:
        """Read a header."""
        path = Path(request["path"])
        with path.open("rb") as file:
            head = file.read(HEAD)
        found = _module_of(self._reader_for(head)).describe(path, head)
        return {"header": found.to_json()}, []

    def _reader_for(self, head: bytes) -> Reader:
        """Return the reader of a file that begins with ``head``."""
        if not head:
            raise FileSkipped("it is empty")
        if not head.strip(b"\0"):
            raise FileSkipped("it begins with zero bytes only")
        for reader in self._readers.values():
            if reader.sniff(head):
                return reader
        why = (reason for magic, reason in _OTHERS.items() if head.startswith(magic))
        raise FileSkipped(next(why, UNKNOWN_FORMAT))

    def pixels(self, request: dict[str, Any]) -> Answer:
        """Decode one slice."""
        path, layout = Path(request["path"]), request.get("layout")
        if layout is None:
            decode = self._open(path, request["format"])
            decoded = decode(request["frame"], request["axis"], request["time"])
        else:
            decoded = _read_plain(path, layout, request["frame"])
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
            self._opened = (key, _module_of(self._readers[format_name]).open_frames(path))
        return self._opened[1]


def _read_plain(path: Path, layout: dict[str, Any], frame: int) -> Decoded:
    """Read a frame according to the fields of a ``records.Layout``."""
    rows, columns = layout["shape"]
    dtype, count = np.dtype(layout["dtype"]), rows * columns
    offset = layout["offset"] + frame * count * dtype.itemsize
    stored = np.fromfile(path, dtype, count, offset=offset)
    if stored.size < count:
        raise FileRefused("it is truncated: it has become shorter since it was scanned")
    if layout["unused"]:
        # Shifting left and right clears the unused bits and restores the sign.
        np.left_shift(stored, layout["unused"], out=stored)
        np.right_shift(stored, layout["unused"], out=stored)
    return Decoded(
        stored.reshape(rows, columns),
        slope=layout["slope"],
        intercept=layout["intercept"],
        padding=layout["padding"],
    )


def answer(service: Service, request: dict[str, Any]) -> Answer:
    """Answer one request; any failure to read the file becomes an answer, too."""
    try:
        return getattr(service, request["task"])(request)  # type: ignore[no-any-return]
    except FileSkipped as skipped:
        return _not_read("skipped", skipped)
    except FileRefused as refused:
        return _not_read("refused", refused)
    except MemoryError:
        return _not_read("refused", "it takes more memory than is allowed for one file")
    except OSError as error:
        return _not_read("refused", error.strerror or error)
    except (KeyboardInterrupt, SystemExit):
        raise
    # Decoders may raise anything; those built with pyo3 raise more than Exception.
    except BaseException as error:
        return _not_read("refused", f"it cannot be decoded: {error or type(error).__name__}")


def _not_read(outcome: Outcome, reason: object) -> Answer:
    return {"outcome": outcome, "reason": " ".join(str(reason).split())[:400]}, []


def serve(
    requests: BinaryIO, answers: BinaryIO, seconds: float, readers: Mapping[str, Reader]
) -> None:
    """Answer requests until there are no more.

    Args:
        requests, answers: Streams to read from and to write to.
        seconds: Processor time for each answer; the system ends a process that takes more.
        readers: Readers of the formats, by name.
    """
    service = Service(readers)
    for line in requests:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        reply, arrays = answer(service, json.loads(line))
        signal.setitimer(signal.ITIMER_PROF, 0)
        text = json.dumps(reply).encode()
        answers.write(len(text).to_bytes(4, "little") + text)
        for array in arrays:
            answers.write(memoryview(array).cast("B"))
        answers.flush()


def _module_of(reader: Reader) -> FormatReader:
    return cast(FormatReader, import_module(reader.module))


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
    serve(sys.stdin.buffer, answers, float(sys.argv[2]), readers_from_json(sys.argv[3]))


if __name__ == "__main__":
    main()
