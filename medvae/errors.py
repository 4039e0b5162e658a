"""The errors that medvae raises.

::

    MedvaeError                 any error that is reported to the user in one line
    ├── UsageProblem            an argument is invalid (a ValueError; exit code 2)
    ├── ReadError               a file cannot be read or trusted
    │   └── DecodeError         its pixels cannot be decoded, or exceed a time or memory limit
    ├── LabelError              a label file as a whole cannot be used
    ├── TrainingError           training cannot continue
    └── WriteError              a result cannot be written

    KeyboardInterrupt
    └── Stopped                 a run was interrupted; says what it leaves behind

A message is one line: the file or argument, what is wrong, and what to do about it. The command
line shows the option in place of the argument.
"""

from __future__ import annotations

from collections.abc import Collection

__all__ = [
    "DecodeError",
    "LabelError",
    "MedvaeError",
    "ReadError",
    "Stopped",
    "TrainingError",
    "UsageProblem",
    "WriteError",
    "check_choice",
]


class MedvaeError(Exception):
    """Base class of all errors that are reported to the user in one line.

    Args:
        reason: What is wrong and what to do about it.
        where: The file, series or slice concerned; the message begins with it.
        parameter: Name of the argument concerned; the message begins with it.

    Attributes:
        reason: The message without its beginning, so that errors of the same kind can be counted.
        parameter: Name of the argument; None if there is none, or several are concerned.
    """

    def __init__(self, reason: str, *, where: object = None, parameter: str | None = None) -> None:
        parts = [str(part) for part in (parameter, where, reason) if part is not None]
        super().__init__(": ".join(parts))
        self.reason = reason
        self.parameter = parameter


class UsageProblem(MedvaeError, ValueError):
    """An argument is invalid, whatever the files contain."""


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


def check_choice(
    names: Collection[str], choices: Collection[str], kind: str, parameter: str
) -> None:
    """Check that an argument names some of the choices.

    Args:
        names: Names that are given.
        choices: Names to choose from.
        kind: Word for what is named.
        parameter: Name of the argument.

    Raises:
        UsageProblem: If a name is unknown, or none is given.
    """
    unknown = [name for name in names if name not in choices]
    if unknown or not names:
        found = f"unknown {kind} {unknown[0]!r}" if unknown else f"no {kind} is given"
        raise UsageProblem(f"{found}; choose from {', '.join(choices)}", parameter=parameter)
