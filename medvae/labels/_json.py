"""Load JSON files, and check the types of values from foreign ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medvae.errors import LabelError
from medvae.labels._match import UnusableError

__all__ = ["index", "length", "load_json", "numbers", "objects", "shown", "text", "whole"]

_LARGEST_FILE = 512 * 2**20


def load_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        LabelError: The file is not JSON, or is too large to be trusted.
        OSError: The file cannot be read.
    """
    try:
        size = path.stat().st_size
        if size > _LARGEST_FILE:
            raise LabelError(f"{path}: {size / 2**20:.0f} MB; label files may have at most 512 MB")
        return json.loads(path.read_bytes(), object_pairs_hook=_object)
    except KeyError as error:
        twice = shown(error.args[0])
        what = f"{twice} occurs twice in one of its objects; keep one of them"
        raise LabelError(f"{path}: {what}") from None
    except RecursionError:
        raise LabelError(f"{path}: is nested too deeply to be a label file") from None
    except ValueError as error:
        raise LabelError(f"{path}: is not JSON: {error}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object made of pairs; Python would silently keep the last value of a key."""
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise KeyError(key)
        made[key] = value
    return made


def objects(fields: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return a field that must be a list of JSON objects; empty if it is missing.

    Raises:
        LabelError: The value is anything else.
    """
    value = fields.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise LabelError(f"`{name}` must be a list of objects")
    return value


def text(fields: Mapping[str, Any], name: str) -> str:
    """Return a field that must be text that is not blank."""
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip():
        raise _wrong(name, "text", value)
    return value


def index(fields: Mapping[str, Any], name: str) -> int | None:
    """Return a field that must be an index, or None if it is missing."""
    value = fields.get(name)
    if value is not None and (type(value) is not int or value < 0):
        raise _wrong(name, "0 or more", value)
    return value


def numbers(value: object, name: str, counts: tuple[int, ...]) -> tuple[float, ...]:
    """Return ``value`` as floats if it is a list of numbers with one of the lengths ``counts``."""
    found = value if isinstance(value, list) and len(value) in counts else [None]
    try:
        if all(type(item) in (int, float) for item in found):
            return tuple(map(float, found))
    except OverflowError:
        pass
    raise _wrong(name, f"{' or '.join(map(str, counts))} numbers", value)


def whole(value: object) -> int | None:
    """Return ``value`` as an integer if it is a whole number, written as 2 or 2.0."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def length(fields: Mapping[str, Any], name: str, default: int) -> int:
    """Return a field that must be a number of pixels, or the default if it is blank or 0."""
    value = fields.get(name)
    if value in (None, "", 0):
        return default
    written = isinstance(value, str) and value.isdecimal() and len(value) < 10
    found = int(value) if written else whole(value)
    if found is None:
        raise _wrong(name, "a whole number", value)
    return found or default


def _wrong(name: str, wanted: str, value: object) -> UnusableError:
    return UnusableError(f"`{name}` must be {wanted} but is {shown(value)}; ignored")


def shown(value: object) -> str:
    """Return ``value`` as shown in a message, shortened if it is long."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
