"""Load and write JSON files, and check the types of values from foreign ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medvae.atomic import write_text
from medvae.errors import LabelError
from medvae.labels._problem import UnusableError

__all__ = [
    "load_json",
    "numbers",
    "objects",
    "optional_index",
    "optional_length",
    "shown",
    "text",
    "whole",
    "write_json",
]

_LARGEST_FILE = 512 * 2**20


class _RepeatedKeyError(Exception):
    """Error for an object that has a key twice."""


def load_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        LabelError: The file cannot be read, or is too large to be trusted.
    """
    try:
        size = path.stat().st_size
        if size > _LARGEST_FILE:
            raise LabelError(f"{path}: {size / 2**20:.0f} MB; label files may have at most 512 MB")
        return json.loads(path.read_bytes(), object_pairs_hook=_object)
    except OSError as error:
        raise LabelError(f"{path}: cannot be read: {error.strerror}") from error
    except _RepeatedKeyError as error:
        raise LabelError(f"{path}: {error}") from None
    except RecursionError:
        raise LabelError(f"{path}: is nested too deeply to be a label file") from None
    except ValueError as error:
        raise LabelError(f"{path}: is not JSON: {error}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object made of pairs; Python would silently keep the last value of a key."""
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = next(key for place, (key, _) in enumerate(pairs) if key in dict(pairs[:place]))
        raise _RepeatedKeyError(
            f"{shown(twice)} occurs twice in one of its objects; keep one of them"
        )
    return made


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a JSON file.

    Raises:
        WriteError: The file system refuses to write the file.
    """
    write_text(path, json.dumps(document, allow_nan=False) + "\n")


def objects(value: object, what: str) -> list[dict[str, Any]]:
    """Return ``value`` if it is a list of JSON objects.

    Raises:
        LabelError: The value is anything else.
    """
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise LabelError(f"{what} must be a list of objects")
    return value


def text(value: object, what: str) -> str:
    """Return ``value`` if it is text that is not blank."""
    if not isinstance(value, str) or not value.strip():
        raise UnusableError(f"`{what}` must be text but is {shown(value)}; ignored")
    return value


def optional_index(value: object, what: str) -> int | None:
    """Return ``value`` if it is an index or None."""
    if value is not None and (type(value) is not int or value < 0):
        raise UnusableError(f"`{what}` must be 0 or more but is {shown(value)}; ignored")
    return value


def numbers(value: object, what: str, counts: tuple[int, ...]) -> tuple[float, ...]:
    """Return ``value`` as floats if it is a list of numbers with one of the lengths ``counts``."""
    try:
        if (
            isinstance(value, list)
            and len(value) in counts
            and all(type(item) in (int, float) for item in value)
        ):
            return tuple(float(item) for item in value)
    except OverflowError:
        pass
    wanted = " or ".join(map(str, counts))
    raise UnusableError(f"`{what}` must be {wanted} numbers but is {shown(value)}; ignored")


def whole(value: object) -> int | None:
    """Return ``value`` as an integer if it is a whole number, written as 2 or 2.0."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def optional_length(value: object, what: str) -> int | None:
    """Return ``value`` as an integer if it is a number of pixels; None if it is blank or 0."""
    if value in (None, "", 0):
        return None
    written = isinstance(value, str) and value.isdecimal() and len(value) < 10
    length = int(str(value)) if written else whole(value)
    if length is None:
        raise UnusableError(f"`{what}` must be a whole number but is {shown(value)}; ignored")
    return length


def shown(value: object) -> str:
    """Return ``value`` as shown in a message, shortened if it is long."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
