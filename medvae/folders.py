"""Output folders: used by one run at a time, and never inside an input."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from medvae.errors import Stopped, UsageProblem, WriteError
from medvae.notices import notice

__all__ = ["LOCK", "OutputFolder", "check_empty", "check_outside", "clear", "contents", "output"]

LOCK = ".medvae.lock"
"""Name of the file that is locked while a run writes to its folder."""

_TRIES = 100
"""Number of attempts to take a lock whose file is being removed by another run."""

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
"""Error numbers of file systems that do not support locks."""

_here: dict[tuple[int, int], int] = {}
"""Folders that this process writes to, by device and inode, with its process ID.

The system lets a process take its own lock twice, and drops the lock as soon as any descriptor of
the file is closed. Threads of one process are therefore kept apart before they open the file. A
forked process inherits this table, but not the locks.
"""

_here_lock = threading.Lock()


@dataclass
class OutputFolder:
    """A folder for the exclusive use of one run.

    Attributes:
        path: The folder.
        finished: What the run has finished, such as "3 of 8 series are finished"; kept up to date
            by the run.
    """

    path: Path
    finished: str = "what is finished is kept"


@contextmanager
def output(
    folder: Path,
    inputs: Iterable[str | Path | None] = (),
    *,
    fresh: bool = True,
    resumable: bool = False,
) -> Iterator[OutputFolder]:
    """Give a run exclusive use of a folder, which is created if it does not exist.

    The folder is locked before it is examined, by a POSIX record lock on a hidden file. Such a lock
    holds over NFS and between machines, and it ends with the process that took it, however that
    process ended and whatever worker processes it leaves behind. A folder that is created here and
    stays empty is removed again.

    Args:
        folder: Output folder.
        inputs: Files and folders that the run reads; None for an option that is not given.
        fresh: Whether the folder must be empty.
        resumable: Whether an interrupted run can be continued.

    Raises:
        UsageProblem: If the folder is in use, lies inside an input, or is not empty.
        WriteError: If the file system refuses; the message says what was written before.
        Stopped: If the run was interrupted; the message says what was written before.
    """
    check_outside(folder, inputs)
    with _lock(folder):
        if fresh:
            check_empty(folder)
        own = OutputFolder(folder)
        try:
            yield own
        except WriteError as error:
            # A run inside this one may already have reported this for its own folder.
            first = error.first if isinstance(error, _Unfinished) else error
            raise _Unfinished(first, _what_is_left(own, resumable)) from first
        except KeyboardInterrupt as error:
            left = _what_is_left(own, resumable)
            raise Stopped(f"{folder}: the run was stopped; {left}") from error


class _Unfinished(WriteError):
    """A run could not write; the message says what it leaves behind."""

    def __init__(self, first: WriteError, left: str) -> None:
        super().__init__(f"{first}; {left}")
        self.first = first


def _what_is_left(own: OutputFolder, resumable: bool) -> str:
    if not contents(own.path):
        return "nothing was written: repeat the command to start again"
    if resumable:
        return f"{own.finished}: resume the run to continue it"
    return f"{own.finished}, and this command cannot resume: repeat it with another folder"


def check_outside(folder: Path, inputs: Iterable[str | Path | None]) -> None:
    """Check that results are not written inside an input.

    Raises:
        UsageProblem: If the folder is one of the inputs, or lies inside one.
    """
    real = Path(os.path.realpath(folder))
    for given in inputs:
        if given is None or not os.path.isdir(given):  # noqa: PTH112  # False if access is denied
            continue
        if real.is_relative_to(os.path.realpath(given)):
            raise UsageProblem(
                f"{folder}: lies inside {given}, which is read, so later runs would take the "
                "results for scans: choose a folder outside of it"
            )


def check_empty(folder: Path) -> None:
    """Check that an output folder is empty or does not exist yet.

    Raises:
        UsageProblem: If the folder is not empty, or cannot be examined.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise _no_folder(folder)
        if folder.exists() and contents(folder):
            raise UsageProblem(
                "is not empty, and nothing is overwritten; choose another", where=folder
            )
    except OSError as error:
        raise UsageProblem(f"{folder}: cannot be used: {error.strerror}") from error


def _no_folder(path: Path) -> UsageProblem:
    return UsageProblem(f"{path}: is not a directory; choose another path")


def contents(folder: Path) -> list[Path]:
    """Return the content of a folder, except for the lock file."""
    return [path for path in folder.iterdir() if path.name != LOCK]


def clear(folder: Path) -> None:
    """Remove what a run has written to a folder, so that the same command can be repeated."""
    for path in contents(folder):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which is created if it does not exist."""
    made: list[Path] = []
    try:
        key, descriptor = _acquire(folder, made)
    except OSError as error:
        _unmake(made)
        raise WriteError(f"{folder}: cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        # The order matters: no other run can take the lock while the file still has its name, and
        # over NFS an open file keeps the folder from being empty.
        with suppress(OSError):
            (folder / LOCK).unlink()
        os.close(descriptor)
        _forget(key)
        _unmake(made)


def _acquire(folder: Path, made: list[Path]) -> tuple[tuple[int, int], int]:
    """Lock a folder and return its key and the descriptor; add created folders to ``made``."""
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):  # another run has just removed the folder or the file
            made += _make(folder)
            status = folder.stat()
            key = (status.st_dev, status.st_ino)
            with _here_lock:
                if _here.get(key) == os.getpid():
                    raise UsageProblem(_in_use(folder, "this process"))
                _here[key] = os.getpid()
            try:
                return key, _locked(folder)
            except BaseException:
                _forget(key)
                raise
    raise WriteError(f"{folder}: cannot be created; choose another folder")


def _forget(key: tuple[int, int]) -> None:
    with _here_lock:
        _here.pop(key, None)


def _make(folder: Path) -> list[Path]:
    """Create a folder; return the folders that were missing, innermost first."""
    missing = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise _no_folder(folder) from error
    return missing


def _unmake(made: Iterable[Path]) -> None:
    """Remove those of the created folders that are empty."""
    for path in made:
        with suppress(OSError):
            path.rmdir()


def _locked(folder: Path) -> int:
    """Open and lock the lock file, and return its descriptor.

    Raises:
        FileNotFoundError: If another run has just removed the file.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(folder / LOCK, flags, 0o666)
    try:
        _take(descriptor, folder)
        if not os.path.samestat((folder / LOCK).stat(), os.fstat(descriptor)):
            raise FileNotFoundError
        _sign(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _take(descriptor: int, folder: Path) -> None:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise UsageProblem(_in_use(folder, _holder(descriptor))) from error
        if error.errno == errno.ESTALE:
            raise FileNotFoundError from error
        if error.errno not in _NO_LOCKS:
            raise
        notice(
            f"{folder}: the file system supports no locks: make sure that no other run writes there"
        )


def _sign(descriptor: int) -> None:
    """Write to the lock file which process holds the lock."""
    with suppress(OSError):  # on a full disk the lock still holds
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)


def _holder(descriptor: int) -> str:
    with suppress(OSError):
        if text := os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip():
            return text
    return "another process"


def _in_use(folder: Path, holder: str) -> str:
    return (
        f"{folder}: is in use by {holder}: wait until that run has ended, or choose another folder"
    )
