"""Storage for arrays of many slices, of which a few are needed at a time."""

from __future__ import annotations

import math
import tempfile
import weakref
from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from medvae.errors import WriteError

_IN_MEMORY = 8 * 2**20
"""Number of bytes beyond which arrays are stored in a temporary file."""


class Rows:
    """Arrays of one shape and type, numbered from 0; several threads may use them at once.

    Many arrays are stored in a temporary file, so that they need no memory.

    Args:
        shape: Shape of an array.
        dtype: Type of its values.
    """

    def __init__(self, shape: Sequence[int], dtype: DTypeLike) -> None:
        self._shape, self._dtype = tuple(shape), np.dtype(dtype)
        self._bytes = math.prod(self._shape) * self._dtype.itemsize
        self._count = 0
        self._lock = Lock()
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, rows: Sequence[int] | NDArray[np.intp]) -> NDArray[Any]:
        """Return a copy of some arrays, ``[len(rows), *shape]``."""
        found = bytearray()
        with self._lock:
            for row in rows:
                self._file.seek(int(row) * self._bytes)
                found += self._file.read(self._bytes)
        return np.frombuffer(found, self._dtype).reshape(len(rows), *self._shape)

    def all(self) -> NDArray[Any]:
        """Return a copy of all arrays, ``[N, *shape]``."""
        return self[range(self._count)]

    def append(self, arrays: NDArray[Any]) -> None:
        """Add arrays, ``[N, *shape]``.

        Raises:
            WriteError: If the temporary file cannot be written.
        """
        try:
            with self._lock:
                self._file.seek(self._count * self._bytes)
                self._file.write(np.ascontiguousarray(arrays, self._dtype).tobytes())
                self._count += len(arrays)
        except OSError as error:
            raise WriteError(
                f"{tempfile.gettempdir()}: cannot be written: {error.strerror}; set TMPDIR to a "
                "folder with more room"
            ) from error

    def __reduce__(self) -> tuple[Any, ...]:
        return _rows, (self._shape, self._dtype, self.all())


def _rows(shape: Sequence[int], dtype: DTypeLike, arrays: NDArray[Any]) -> Rows:
    rows = Rows(shape, dtype)
    rows.append(arrays)
    return rows
