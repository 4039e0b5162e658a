"""The errors that medvae raises.

::

    MedvaeError                 anything a user can be told in one line
    ├── UsageProblem            an option or argument cannot be right (exit code 2)
    ├── ReadError               a file cannot be read or trusted
    │   └── DecodeError         its pixels cannot be decoded, or not in time or memory
    ├── LabelError              a label file as a whole cannot be used
    ├── TrainingError           a training cannot go on
    └── WriteError              a result cannot be written

    KeyboardInterrupt
    └── Stopped                 a run was interrupted, and says what it leaves

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
    """Base of all errors that are told to a user in one line.

    Args:
        reason: What is wrong and what to do about it.
        where: The file, series or slice that is concerned; the message begins with it.

    Attributes:
        reason: The message without ``where``, so that many of the same kind can be counted.
    """

    def __init__(self, reason: str, *, where: object = None) -> None:
        super().__init__(reason if where is None else f"{where}: {reason}")
        self.reason = reason


class UsageProblem(MedvaeError):
    """An option or an argument cannot be right, whatever the files hold."""


class ReadError(MedvaeError):
    """A file cannot be read, or what it holds cannot be trusted."""


class DecodeError(ReadError):
    """The pixels of a file cannot be decoded, or not within the limits of time and memory."""

    @property
    def kind(self) -> str:
        """The reason without what follows its first colon, which may quote the file."""
        return self.reason.partition(":")[0]


class LabelError(MedvaeError):
    """A label file as a whole cannot be used."""


class TrainingError(MedvaeError):
    """A training cannot go on."""


class WriteError(MedvaeError):
    """A result cannot be written."""


class Stopped(KeyboardInterrupt):
    """A run was interrupted; the message says what it leaves and how to continue."""
