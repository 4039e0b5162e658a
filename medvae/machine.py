"""Memory of this machine, or the share that the container of this process may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

__all__ = ["available_memory", "machine_memory"]


def machine_memory(root: Path = Path("/")) -> int:
    """Return the number of bytes of memory that all processes here share.

    Args:
        root: Folder in which ``proc`` and ``sys`` are mounted.
    """
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *(limit for limit, _, _ in _container_limits(root))])


def available_memory(root: Path = Path("/")) -> int:
    """Return the number of bytes of memory that this process can still allocate.

    Args:
        root: Folder in which ``proc`` and ``sys`` are mounted.
    """
    free = [machine_memory(root), *_named(root / "proc/meminfo", "MemAvailable:", 1024)]
    for limit, folder, usage in _container_limits(root):
        with suppress(OSError, ValueError):
            left = limit - int((folder / usage).read_text())
            # Cached file pages that were not used lately are reclaimed when memory runs short.
            cached = next(_named(folder / "memory.stat", "inactive_file", 1), 0)
            free.append(max(0, left + cached))
    return min(free)


def _container_limits(root: Path) -> Iterator[tuple[int, Path, str]]:
    """Yield the limit, the folder and the name of the usage of this process's control groups.

    These are the group of the process and all its parent groups, as far as they have a limit.
    """
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    mounted = root / "sys/fs/cgroup"
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            top, limit, usage = mounted, "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            top = mounted / "memory"
            limit, usage = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        group = PurePosixPath(path.lstrip("/"))
        for folder in (top / place for place in (group, *group.parents)):
            with suppress(OSError, ValueError):  # "max" means no limit
                yield int((folder / limit).read_text()), folder, usage


def _named(path: Path, name: str, unit: int) -> Iterator[int]:
    """Yield the number that follows a name, converted to bytes; ``unit`` is in bytes."""
    with suppress(OSError):
        for line in path.read_text().splitlines():
            words = line.split()
            if words[:1] == [name]:
                yield int(words[1]) * unit
