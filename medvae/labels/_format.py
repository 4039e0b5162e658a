"""Interface of a label format: how its files are recognised, read and written.

Formats that are JSON check the types of values by the functions at the end.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from medvae.errors import LabelError
from medvae.labels._ledger import Ledger
from medvae.labels._match import UnusableError
from medvae.records import Labels

_HEAD = 2**16
_LARGEST_FILE = 512 * 2**20


@dataclass(frozen=True, eq=False)
class LabelSource:
    """A file, or a folder of files, that may contain labels.

    Attributes:
        path: The file or folder.
        files: All files below the folder, or the file itself.
    """

    path: Path
    files: tuple[Path, ...]

    @property
    def is_folder(self) -> bool:
        """Whether the source is a folder."""
        return self.files != (self.path,)

    @property
    def folder(self) -> Path:
        """The folder to which file names in the labels are relative."""
        return self.path if self.is_folder else self.path.parent

    @cached_property
    def head(self) -> str:
        """The beginning of the file as text.

        Raises:
            OSError: The file cannot be read.
        """
        with self.path.open("rb") as file:
            return file.read(_HEAD).decode("utf-8-sig", "replace")

    @property
    def first_line(self) -> str:
        """The first non-blank line of the file."""
        return self.head.lstrip().partition("\n")[0].rstrip("\r")

    @property
    def is_json(self) -> bool:
        """Whether the file begins as JSON does."""
        return not self.is_folder and self.head.lstrip()[:1] in ("{", "[")

    @property
    def fields(self) -> set[str]:
        """The names of fields at the beginning of a JSON object; empty for other files."""
        is_object = self.head.lstrip()[:1] == "{"
        return set(re.findall(r'"(\w+)"\s*:', self.head)) if is_object else set()

    @cached_property
    def document(self) -> Any:
        """The content of a JSON file; None for other files.

        Raises:
            LabelError: The file cannot be read as JSON.
        """
        return _load_json(self.path) if self.is_json else None

    def has(self, endings: tuple[str, ...]) -> bool:
        """Return whether the name of any of its files ends with one of ``endings``."""
        return any(file.name.lower().endswith(endings) for file in self.files)


@dataclass(frozen=True)
class LabelledImage:
    """Properties of one written image that a label writer needs.

    Attributes:
        file: Path of the image relative to the label file or folder, separated by ``/``.
        shape: Numbers of rows and columns.
        labels: Labels of the image; empty if there is nothing on it.
        group: Pseudonym of its patient.
        key: Key of its slice.
        frame: Index of the slice in its file, if the file has several slices.
    """

    file: str
    shape: tuple[int, int]
    labels: Labels
    group: str = ""
    key: str = ""
    frame: int | None = None

    def identity(self) -> dict[str, str | int]:
        """Return the fields that identify the patient and the slice."""
        fields = {"patient": self.group, "medvae_key": self.key, "frame": self.frame}
        return {name: value for name, value in fields.items() if value not in (None, "")}


class LabelFormat(ABC):
    """A format of labels.

    Attributes:
        name: Name shown to users, such as ``COCO``.
        option: Name by which users choose it for writing; None for formats that are only read.
        file_per_image: Whether each image has its own label file.
    """

    name: ClassVar[str]
    option: ClassVar[str | None] = None
    file_per_image: ClassVar[bool] = False

    @abstractmethod
    def holds(self, source: LabelSource) -> bool:
        """Return whether a source that is given as labels is in this format."""

    @abstractmethod
    def read(self, source: LabelSource, ledger: Ledger) -> str:
        """Add the labels of the source to the ledger, and return the format's name.

        Raises:
            LabelError: The source cannot be used at all.
        """

    def resembles(self, source: LabelSource) -> str | None:
        """Return the format's name if a file that is not given as labels looks like labels.

        Only the name and the beginning of the file are examined.
        """
        return None

    def write(self, folder: Path, images: Sequence[LabelledImage]) -> None:
        """Write the labels of images into a folder, under a file name specific to the format.

        Raises:
            WriteError: The file system refuses to write a file.
        """
        raise NotImplementedError(f"{self.name} is only read")


def _load_json(path: Path) -> Any:
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
