"""How much memory this machine has, or the container that the process runs in may take."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

__all__ = ["machine_memory"]


def machine_memory(root: Path = Path("/")) -> int:
    """Return the bytes of memory that all processes here share.

    Args:
        root: Where ``proc`` and ``sys`` are mounted.
    """
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *_container_limits(root)])


def _container_limits(root: Path) -> Iterator[int]:
    """Read the limit of the control group of this process, and those of all groups above it."""
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
        for place in (group, *group.parents):
            with suppress(OSError, ValueError):  # "max" is no limit
                yield int((folder / place / name).read_text())
