"""Interface of a label format: how its files are recognised, read and written."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from medvae.labels._json import load_json
from medvae.labels._ledger import Ledger
from medvae.records import Labels

__all__ = ["LabelFormat", "LabelSource", "LabelledImage"]

_HEAD = 2**16


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
        return load_json(self.path) if self.is_json else None

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
