"""The memory of the machine: what a container may take counts as all there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from medvae.machine import machine_memory

MIB = 2**20


def put(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize(
    "files",
    [
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": f"{64 * MIB}\n"},
        {
            "proc/self/cgroup": "0::/pod/box\n",
            "sys/fs/cgroup/pod/box/memory.max": "max\n",
            "sys/fs/cgroup/pod/memory.max": f"{64 * MIB}\n",
            "sys/fs/cgroup/memory.max": f"{96 * MIB}\n",
        },
        {
            "proc/self/cgroup": "5:cpu:/a\n4:memory,hugetlb:/docker/f00\n0::/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{64 * MIB}\n",
        },
    ],
    ids=["own group", "group above", "version 1"],
)
def test_the_limit_of_a_container(tmp_path: Path, files: dict[str, str]) -> None:
    put(tmp_path, files)
    assert machine_memory(tmp_path) == 64 * MIB


def test_without_a_limit_it_is_what_is_built_in(tmp_path: Path) -> None:
    put(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"})
    assert machine_memory(tmp_path) == machine_memory(tmp_path / "nowhere") > 64 * MIB
