"""Shards of an augmentation: several processes, such as those of a SLURM array, share one run."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from medvae.atomic import write_text
from medvae.errors import ReadError, UsageProblem
from medvae.folders import output
from medvae.progress import Progress

T = TypeVar("T")

_POLL = 2.0
"""Seconds between two looks at what the other shards have finished."""

_MOST = 100_000


@dataclass(frozen=True)
class Shard:
    """One of several processes that share a run, on machines that share the file system.

    What a shard finishes is stored beside the folder of the run, so that a shard that failed
    continues where it stopped, and no other shard is affected.

    Attributes:
        number: Number of this shard, from 1.
        count: Number of shards.
        folder: Folder in which shards store what they finish.
        timeout: Seconds to wait for other shards.
    """

    number: int
    count: int
    folder: Path
    timeout: float

    @classmethod
    def of(cls, spec: str, out: Path, timeout: float) -> Shard:
        """Return the shard of a specification such as ``3/8``.

        Raises:
            UsageProblem: If it is not one.
        """
        number, slash, count = spec.partition("/")
        if not (slash and number.isdecimal() and count.isdecimal()):
            raise UsageProblem(f"must be like 3/8, but is {spec!r}", parameter="shard")
        if not 1 <= int(number) <= int(count) <= _MOST:
            raise UsageProblem(
                f"must be from 1/{count} to {count}/{count}, but is {spec}", parameter="shard"
            )
        return cls(int(number), int(count), out.with_name(f"{out.name}.shards"), timeout)

    @property
    def own(self) -> Path:
        """Folder of this shard alone."""
        return self.folder / str(self.number)

    @property
    def joined(self) -> Path:
        """File that exists as soon as the results of all shards are joined."""
        return self.folder / "joined"

    def join_run(self) -> None:
        """Take part in the run, and check that its shards are as many as for the others.

        Raises:
            UsageProblem: If the run was begun with another number of shards.
            WriteError: If the file system refuses.
        """
        path = self.folder / "count.txt"
        if not path.is_file():
            write_text(path, f"{self.count}\n")
        begun = path.read_text(encoding="utf-8").strip()
        if begun != str(self.count):
            raise UsageProblem(
                f"the run was begun with {begun} shards, not {self.count}; use {begun}, or remove "
                f"{self.folder} to begin again",
                parameter="shard",
            )

    def consecutive(self, items: Sequence[T]) -> Sequence[T]:
        """Return this shard's share of items: consecutive ones, so that shares keep the order."""
        first, last = (
            len(items) * number // self.count for number in (self.number - 1, self.number)
        )
        return items[first:last]

    def interleaved(self, items: Sequence[T]) -> Sequence[T]:
        """Return this shard's share of items: every n-th, so that the shares take equally long."""
        return items[self.number - 1 :: self.count]

    def path(self, name: str, number: int) -> Path:
        """Return the file in which a shard stores what it has finished under a name."""
        return self.folder / str(number) / name

    def finish(self, name: str) -> None:
        """State that this shard has finished what has this name.

        Raises:
            WriteError: If the file system refuses.
        """
        write_text(self.path(name, self.number), "")

    def missing(self, name: str) -> list[int]:
        """Return the numbers of the shards that have not finished what has this name."""
        numbers = range(1, self.count + 1)
        return [number for number in numbers if not self.path(name, number).is_file()]

    def wait(self, name: str, what: str, progress: Progress) -> None:
        """Wait until all shards have finished what has this name.

        Raises:
            ReadError: If that takes too long; the message names the shards.
        """
        begun = time.monotonic()
        while missing := self.missing(name):
            note = f"waiting for {_listed(missing)}"
            progress(f"Waiting for {what}", self.count - len(missing), self.count, note)
            if time.monotonic() - begun > self.timeout:
                raise ReadError(
                    f"{what} is missing from {_listed(missing)} of {self.count} after "
                    f"{self.timeout:g} seconds; run them, then repeat this one"
                )
            time.sleep(_POLL)

    @contextmanager
    def exclusive(self, out: Path) -> Iterator[None]:
        """Use the folder of the run alone; wait while another shard uses it.

        Raises:
            UsageProblem: If it stays in use.
        """
        begun = time.monotonic()
        with ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(output(out, fresh=False, resumable=True))
                    break
                except UsageProblem:
                    if time.monotonic() - begun > self.timeout:
                        raise
                time.sleep(_POLL / 10)
            yield


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    what = "shard" if len(numbers) == 1 else "shards"
    return f"{what} {shown}" if len(numbers) <= 8 else f"{what} {shown} and {len(numbers) - 8} more"
