"""Read the JSON that this library stores with its results, with checks of types, sizes and paths.

The files of a run may have been passed on, damaged or forged by the time they are read. Each file
is therefore read through ``Fields``, which returns a value only if it has the required type and
size, and otherwise raises an error that says in one line which file and line is wrong.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from medvae.errors import ReadError

__all__ = ["Fields", "below", "parse", "read_object"]

_LARGEST_FILE = 2**30
_DEEPEST = 64
_LONGEST_TEXT = 2**24
_LARGEST_NUMBER = 2**53
_MOST_PIXELS = 2**26


def read_object(path: Path, absent: str | None = None) -> Fields:
    """Read a file that holds one JSON object.

    Args:
        path: File to read.
        absent: Error message if there is no such file.

    Raises:
        ReadError: If the file cannot be read, is too large, or is not a JSON object.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ReadError(f"{path}: is larger than 1 GiB; it is damaged or not what it should be")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ReadError(absent or f"{path}: there is no such file") from error
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror}") from error
    return parse(data, str(path))


def parse(data: bytes, where: str) -> Fields:
    """Parse one JSON object.

    Args:
        data: JSON in UTF-8.
        where: Name of the file, or of its line, for error messages.

    Raises:
        ReadError: If it is not a JSON object, or nested deeper than this library writes.
    """
    try:
        content = json.loads(data)
        too_deep = _depth(content) > _DEEPEST
    except RecursionError:
        too_deep = True
    except ValueError as error:
        raise ReadError(f"{where}: cannot be read as JSON: {error}") from None
    if too_deep:
        raise ReadError(f"{where}: is nested too deeply")
    if not isinstance(content, dict):
        raise ReadError(f"{where}: must be a JSON object, but is {reprlib.repr(content)}")
    return Fields(where, content)


def below(folder: Path, name: str) -> Path:
    """Return the path of the file with this name in a folder.

    Raises:
        ReadError: If the name is absolute or contains ``..``, or a link leads out of the folder.
    """
    path = PurePosixPath(name)
    inside = bool(path.parts) and not path.is_absolute() and ".." not in path.parts
    try:
        inside = inside and (folder / path).resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # a loop of links, or NUL in the name
        inside = False
    if not inside:
        raise ReadError(f"{folder}: the file {reprlib.repr(name)} is not in this folder")
    return folder / path


@dataclass(frozen=True)
class Fields:
    """A JSON object whose values are read by type.

    Every method raises ``ReadError`` if the value is missing or not of the required kind.

    Attributes:
        where: Name of the file, or of its line, for error messages.
        content: The parsed object.
    """

    where: str
    content: Mapping[str, Any]

    def __contains__(self, name: str) -> bool:
        return name in self.content

    def is_null(self, name: str) -> bool:
        """Return whether a value is missing or null."""
        return self.content.get(name) is None

    def text(self, name: str) -> str:
        """Return a string."""
        found: str = self._typed(name, "a string", _is_text)
        return found

    def texts(self, name: str, least: int = 0) -> tuple[str, ...]:
        """Return a list of at least ``least`` strings."""
        what = "a list of strings" if not least else f"a list of {least} or more strings"
        return self._list(name, what, _is_text, least)

    def strings(self) -> dict[str, str]:
        """Return the whole object, whose values must all be strings."""
        return {name: self.text(name) for name in self.content}

    def flag(self, name: str) -> bool:
        """Return a Boolean value."""
        found: bool = self._typed(name, "true or false", lambda v: isinstance(v, bool))
        return found

    def whole(self, name: str, least: int = 0, most: int = _LARGEST_NUMBER) -> int:
        """Return a whole number between two limits."""
        what = f"a whole number from {least} to {most}"
        found: int = self._typed(name, what, lambda v: _is_whole(v, least, most))
        return found

    def wholes(self, name: str) -> tuple[int, ...]:
        """Return a list of whole numbers that are not negative."""
        what = f"a list of whole numbers from 0 to {_LARGEST_NUMBER}"
        return self._list(name, what, lambda one: _is_whole(one, 0, _LARGEST_NUMBER))

    def number(self, name: str) -> float:
        """Return a finite number."""
        return float(self._typed(name, "a finite number", _is_number))

    def numbers(self, name: str, count: int) -> tuple[float, ...]:
        """Return a list of exactly ``count`` finite numbers."""
        what = f"a list of {count} finite numbers"
        return tuple(map(float, self._list(name, what, _is_number, count, count)))

    def shape(self, name: str) -> tuple[int, int]:
        """Return the numbers of rows and columns of a slice."""
        what = f"the rows and columns of a slice, of at most {_MOST_PIXELS} pixels"
        sides = self._list(name, what, lambda side: _is_whole(side, 1, _MOST_PIXELS), 2, 2)
        if math.prod(sides) > _MOST_PIXELS:
            raise self.wrong(name, what)
        rows, columns = sides
        return rows, columns

    def object(self, name: str) -> Fields:
        """Return an object."""
        found = self._typed(name, "an object", lambda v: isinstance(v, dict))
        return Fields(f"{self.where}: {name!r}", found)

    def objects(self, name: str) -> tuple[Fields, ...]:
        """Return a list of objects."""
        found = self._list(name, "a list of objects", lambda one: isinstance(one, dict))
        return tuple(Fields(f"{self.where}: {name!r}[{i}]", one) for i, one in enumerate(found))

    def wrong(self, name: str, what: str) -> ReadError:
        """Return an error that says what a value must be and what it is instead."""
        found = f"is {reprlib.repr(self.content[name])}" if name in self.content else "is missing"
        return ReadError(f"{self.where}: {name!r} must be {what}, but {found}")

    def _typed(self, name: str, what: str, fits: Callable[[Any], bool]) -> Any:
        if name not in self.content or not fits(self.content[name]):
            raise self.wrong(name, what)
        return self.content[name]

    def _list(
        self,
        name: str,
        what: str,
        fits: Callable[[Any], bool],
        least: int = 0,
        most: float = math.inf,
    ) -> tuple[Any, ...]:
        return tuple(
            self._typed(
                name,
                what,
                lambda v: isinstance(v, list) and least <= len(v) <= most and all(map(fits, v)),
            )
        )


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_TEXT


def _is_whole(value: object, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _is_number(value: object) -> bool:
    if type(value) is int:
        return abs(value) <= _LARGEST_NUMBER
    return isinstance(value, float) and math.isfinite(value)


def _depth(content: object) -> int:
    """Return how deeply lists and objects are nested."""
    if not isinstance(content, dict | list):
        return 0
    inner = content.values() if isinstance(content, dict) else content
    return 1 + max(map(_depth, inner), default=0)
