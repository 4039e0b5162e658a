"""The errors that medvae raises.

::

    MedvaeError                 any error that is reported to the user in one line
    ├── UsageProblem            an option or argument is invalid (exit code 2)
    ├── ReadError               a file cannot be read or trusted
    │   └── DecodeError         its pixels cannot be decoded, or exceed a time or memory limit
    ├── LabelError              a label file as a whole cannot be used
    ├── TrainingError           training cannot continue
    └── WriteError              a result cannot be written

    KeyboardInterrupt
    └── Stopped                 a run was interrupted; says what it leaves behind

A message is one line: the file or option, what is wrong, and what to do about it.
"""

from __future__ import annotations

__all__ = [
    "DecodeError",
    "LabelError",
    "MedvaeError",
    "ReadError",
    "Stopped",
    "TrainingError",
    "UsageProblem",
    "WriteError",
]


class MedvaeError(Exception):
    """Base class of all errors that are reported to the user in one line.

    Args:
        reason: What is wrong and what to do about it.
        where: The file, series or slice concerned; the message begins with it.

    Attributes:
        reason: The message without ``where``, so that errors of the same kind can be counted.
    """

    def __init__(self, reason: str, *, where: object = None) -> None:
        super().__init__(reason if where is None else f"{where}: {reason}")
        self.reason = reason


class UsageProblem(MedvaeError):
    """An option or an argument is invalid, whatever the files contain."""


class ReadError(MedvaeError):
    """A file cannot be read, or its content cannot be trusted."""


class DecodeError(ReadError):
    """The pixels of a file cannot be decoded, or exceed a time or memory limit."""

    @property
    def kind(self) -> str:
        """The reason up to its first colon; what follows may quote the file."""
        return self.reason.partition(":")[0]


class LabelError(MedvaeError):
    """A label file as a whole cannot be used."""


class TrainingError(MedvaeError):
    """Training cannot continue."""


class WriteError(MedvaeError):
    """A result cannot be written."""


class Stopped(KeyboardInterrupt):
    """A run was interrupted; the message says what it leaves behind and how to continue."""
