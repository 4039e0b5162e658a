"""How much memory this machine has, or the container that the process runs in may take."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

__all__ = ["available_memory", "machine_memory"]


def machine_memory(root: Path = Path("/")) -> int:
    """Return the bytes of memory that all processes here share.

    Args:
        root: Where ``proc`` and ``sys`` are mounted.
    """
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *_container_limits(root)])


def _container_limits(root: Path) -> Iterator[int]:
    """Read the limit of the control group of this process, and those of all groups above it."""
    for folder, name in _container_files(root):
        with suppress(OSError, ValueError):  # "max" is no limit
            yield int((folder / name).read_text())


def _container_files(root: Path) -> Iterator[tuple[Path, str]]:
    """Give the folder of each of these groups, and the name of the file with its limit."""
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    mounted = root / "sys/fs/cgroup"
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            folder, name = mounted, "memory.max"
        elif "memory" in controllers.split(","):
            folder, name = mounted / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = PurePosixPath(path.lstrip("/"))
        yield from ((folder / place, name) for place in (group, *group.parents))


def available_memory(root: Path = Path("/")) -> int:
    """Return the bytes of memory that this process can still take.

    Args:
        root: Where ``proc`` and ``sys`` are mounted.
    """
    free = [machine_memory(root), *_named(root / "proc/meminfo", "MemAvailable:", 1024)]
    for folder, name in _container_files(root):
        used = "memory.current" if name == "memory.max" else "memory.usage_in_bytes"
        with suppress(OSError, ValueError):
            left = int((folder / name).read_text()) - int((folder / used).read_text())
            # Pages of files that nobody has used lately are given back when memory is short.
            cached = next(_named(folder / "memory.stat", "inactive_file", 1), 0)
            free.append(max(0, left + cached))
    return min(free)


def _named(path: Path, name: str, unit: int) -> Iterator[int]:
    """Read the number that stands behind a name, in units of so many bytes."""
    with suppress(OSError):
        for line in path.read_text().splitlines():
            words = line.split()
            if words[:1] == [name]:
                yield int(words[1]) * unit
