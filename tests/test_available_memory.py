"""How much memory is left, of the machine and of the container that the process runs in."""

from __future__ import annotations

from pathlib import Path

import pytest

from medvae.machine import available_memory

MB = 2**20


def root(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


MACHINE = {"proc/meminfo": f"MemTotal: {900 * 1024} kB\nMemAvailable: {600 * 1024} kB\n"}
SECOND = {
    "proc/self/cgroup": "0::/a/b\n",
    "sys/fs/cgroup/a/b/memory.max": "max\n",
    "sys/fs/cgroup/a/b/memory.current": f"{100 * MB}\n",
    "sys/fs/cgroup/a/memory.max": f"{500 * MB}\n",
    "sys/fs/cgroup/a/memory.current": f"{300 * MB}\n",
    "sys/fs/cgroup/a/memory.stat": f"anon 7\ninactive_file {50 * MB}\n",
}
FIRST = {
    "proc/self/cgroup": "7:cpu:/c\n4:memory:/c\n",
    "sys/fs/cgroup/memory/c/memory.limit_in_bytes": f"{400 * MB}\n",
    "sys/fs/cgroup/memory/c/memory.usage_in_bytes": f"{390 * MB}\n",
}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (MACHINE, 600),
        (MACHINE | SECOND, 250),
        (MACHINE | FIRST, 10),
        (MACHINE | FIRST | {"proc/meminfo": "MemAvailable: 5120 kB\n"}, 5),
    ],
)
def test_the_tightest_limit_counts(files: dict[str, str], expected: int, tmp_path: Path) -> None:
    assert available_memory(root(tmp_path, files)) == expected * MB


def test_this_machine_has_some() -> None:
    assert available_memory() > 0
