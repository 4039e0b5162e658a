"""The worker process, which reads headers and decodes slices of untrusted files.

Requests arrive on standard input as pickled objects; the first object is the registry of readers.
Each answer on standard output is a pickled list of the lengths of its arrays, the arrays, and the
pickled answer without them. The worker answers each request once, and ends when standard input
does.
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
import sys
import warnings
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import cast

import numpy as np

from medvae.files import FileReport, Outcome
from medvae.formats import HEAD, Reader
from medvae.gzips import GZIP
from medvae.readers._contract import (
    UNKNOWN_FORMAT,
    Answer,
    Decode,
    Decoded,
    FileHeader,
    FileRefused,
    FileSkipped,
    FormatReader,
    Request,
)
from medvae.readers._limits import LIBRARIES
from medvae.records import Layout, Source

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

    def answer(self, request: Request) -> Answer:
        """Answer one request; any failure to read the file becomes an answer, too."""
        path = request.path if isinstance(request, Source) else request
        try:
            return self._pixels(request) if isinstance(request, Source) else self._header(request)
        except (KeyboardInterrupt, SystemExit):
            raise
        # Decoders may raise anything; those built with pyo3 raise more than Exception.
        except BaseException as error:
            outcome: Outcome = "skipped" if isinstance(error, FileSkipped) else "refused"
            return FileReport(path, outcome, " ".join(_reason(error).split())[:400])

    def _header(self, path: Path) -> FileHeader:
        with path.open("rb") as file:
            head = file.read(HEAD)
        return _module_of(self._reader_for(head)).describe(path, head)

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

    def _pixels(self, source: Source) -> Decoded:
        if source.layout is not None:
            return _read_plain(source.path, source.layout, source.frame)
        status = source.path.stat()
        key = (source.path, status.st_mtime_ns, status.st_size)
        if self._opened is None or self._opened[0] != key:
            self._opened = None  # release the last file before this one takes memory
            module = _module_of(self._readers[source.format])
            self._opened = (key, module.open_frames(source.path))
        return self._opened[1](source.frame, source.axis, source.time)


def _read_plain(path: Path, layout: Layout, frame: int) -> Decoded:
    """Read a frame of pixels that need no decoder."""
    rows, columns = layout.shape
    dtype, count = np.dtype(layout.dtype), rows * columns
    offset = layout.offset + frame * count * dtype.itemsize
    stored = np.fromfile(path, dtype, count, offset=offset)
    if stored.size < count:
        raise FileRefused("it is truncated: it has become shorter since it was scanned")
    if layout.unused:
        # Shifting left and right clears the unused bits and restores the sign.
        np.left_shift(stored, layout.unused, out=stored)
        np.right_shift(stored, layout.unused, out=stored)
    stored = stored.reshape(rows, columns)
    return Decoded(stored, layout.slope, layout.intercept, layout.padding)


def _reason(error: BaseException) -> str:
    """Return the reason for which a file that raised an error is not read."""
    if isinstance(error, FileSkipped | FileRefused):
        return str(error)
    if isinstance(error, MemoryError):
        return "it takes more memory than is allowed for one file"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"it cannot be decoded: {str(error) or type(error).__name__}"


def _module_of(reader: Reader) -> FormatReader:
    return cast(FormatReader, import_module(reader.module))


def main() -> None:
    """Answer requests until there are no more.

    The arguments are the memory that files may take in addition to the libraries, in bytes, and
    the processor time for each answer, in seconds; the system ends a process that takes more.
    """
    memory, seconds = int(sys.argv[1]) + LIBRARIES, float(sys.argv[2])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    warnings.simplefilter("ignore")
    # Libraries print messages about a file, which must not be mixed with the answers.
    answers = os.fdopen(os.dup(1), "wb", buffering=2**16)
    os.dup2(2, 1)
    requests = os.fdopen(0, "rb", closefd=False)
    service = Service(pickle.load(requests))
    while requests.peek(1):
        request = pickle.load(requests)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        answer = service.answer(request)
        signal.setitimer(signal.ITIMER_PROF, 0)
        # Arrays are written as they are, without a copy.
        arrays: list[pickle.PickleBuffer] = []
        data = pickle.dumps(answer, protocol=5, buffer_callback=arrays.append)
        pickle.dump([array.raw().nbytes for array in arrays], answers)
        answers.writelines([*(array.raw() for array in arrays), data])
        answers.flush()


if __name__ == "__main__":
    main()
