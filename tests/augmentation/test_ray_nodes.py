"""Two machines of a Ray cluster give the bytes of one, also if one of them is lost.

The machines are network namespaces with addresses of their own, joined by a virtual link.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medvae
from outcomes import tree

pytest.importorskip("ray")

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{BIN}:{os.environ['PATH']}",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "a token of these tests",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_open_telemetry": "0",
}
COPIES = 12
KILLS = 3
PATIENCE = 180.0


def ip(*command: str) -> None:
    done = subprocess.run(["ip", *command], capture_output=True, text=True)
    if done.returncode:
        raise OSError(done.stderr.strip())


@dataclass(frozen=True)
class Machine:
    """A network namespace."""

    name: str
    address: str

    def start(self, *command: str | Path, **options: Any) -> subprocess.Popen[str]:
        whole = ["ip", "netns", "exec", self.name, *map(str, command)]
        return subprocess.Popen(whole, env=ENVIRONMENT, text=True, **options)

    def processes(self) -> dict[int, str]:
        """Return the commands of its processes."""
        told = subprocess.run(
            ["ip", "netns", "pids", self.name], capture_output=True, text=True, check=True
        )
        found = {}
        for number in map(int, told.stdout.split()):
            path = Path(f"/proc/{number}/cmdline")
            if path.exists():
                found[number] = path.read_text().replace("\0", " ").strip()
        return found

    def workers(self) -> int:
        return sum(name.startswith("ray::_Stage") for name in self.processes().values())

    def kill(self, by: int = signal.SIGKILL) -> None:
        for number in self.processes():
            os.kill(number, by)


def until(happened: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def says(log: Path, text: str) -> bool:
    return text in log.read_text()


@pytest.fixture
def machines() -> Iterator[tuple[Machine, Machine]]:
    """Two machines that run Ray with two processors each; the first is the head."""
    if shutil.which("ip") is None:
        pytest.skip("iproute2 is not installed")
    number = os.getpid() % 100_000
    links = f"mv{number}a", f"mv{number}b"
    both = tuple(Machine(f"medvae{link}", f"10.199.7.{i}") for i, link in enumerate(links, 1))
    with ExitStack() as stack:
        try:
            for machine in both:
                ip("netns", "add", machine.name)
                stack.callback(ip, "netns", "del", machine.name)
            ip("link", "add", "name", links[0], "type", "veth", "peer", "name", links[1])
            for machine, link in zip(both, links, strict=True):
                ip("link", "set", link, "netns", machine.name)
                ip("-n", machine.name, "address", "add", f"{machine.address}/24", "dev", link)
                ip("-n", machine.name, "link", "set", link, "up")
                ip("-n", machine.name, "link", "set", "lo", "up")
        except OSError as error:
            pytest.skip(f"network namespaces cannot be made here: {error}")
        # The paths of sockets below this folder may have no more than 107 characters.
        folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        head, other = both
        kinds = (
            ("--head", "--port=6379", "--include-dashboard=false", f"--temp-dir={folder}"),
            (f"--address={head.address}:6379",),
        )
        for machine, options in zip(both, kinds, strict=True):
            log = Path(folder) / f"{machine.name}.log"
            with log.open("w") as file:
                ray = machine.start(
                    *(BIN / "ray", "start", "--block", "--num-cpus=2"),
                    *("--object-store-memory=80000000", f"--node-ip-address={machine.address}"),
                    *options,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                )
            stack.callback(ray.wait)
            stack.callback(machine.kill)
            until(partial(says, log, "Ray runtime started"), "Ray starts")
        yield head, other


@pytest.fixture(scope="module")
def alone(
    volumes: Path, volume_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """What one machine writes."""
    out = tmp_path_factory.mktemp("alone") / "out"
    labels = volumes / "coco.json"
    medvae.augment(volumes, volume_run, out, labels=labels, render="warp", copies=COPIES)
    return tree(out)


class Run:
    """A run on a cluster, in a process that may be killed."""

    def __init__(self, head: Machine, studies: Path, model: Path, out: Path) -> None:
        self.head, self.manifest = head, out / "manifest.jsonl"
        self.command: list[str | Path] = [
            *(BIN / "medvae", "augment", studies, "--labels", studies / "coco.json"),
            *("--model", model, "--out", out, "--render", "warp", "--copies", str(COPIES)),
            *("--engine", "ray", "--address", f"{head.address}:6379"),
        ]

    def start(self, *options: str) -> subprocess.Popen[str]:
        return self.head.start(
            *self.command, *options, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def finish(self, process: subprocess.Popen[str]) -> None:
        output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, output

    def working(self, least: int) -> bool:
        """Return whether there are workers, and at least so many lines."""
        return self.head.workers() > 0 and self.lines >= least

    @property
    def lines(self) -> int:
        """Number of lines of the manifest."""
        return self.manifest.read_bytes().count(b"\n") if self.manifest.exists() else 0


@pytest.mark.parametrize("by", ["SIGKILL", "SIGSTOP"])
def test_a_machine_is_lost(
    volumes: Path,
    volume_run: Path,
    tmp_path: Path,
    machines: tuple[Machine, Machine],
    alone: dict[str, bytes],
    by: str,
) -> None:
    head, other = machines
    run = Run(head, volumes, volume_run, tmp_path / "together")
    process = run.start()
    until(lambda: head.workers() == other.workers() == 2, "two workers on each machine")
    until(lambda: run.lines > 0, "a batch is finished")
    other.kill(getattr(signal, by))
    made = run.lines
    run.finish(process)
    assert 0 < made < run.lines
    assert tree(tmp_path / "together") == alone


def test_the_command_is_killed_several_times(
    volumes: Path,
    volume_run: Path,
    tmp_path: Path,
    machines: tuple[Machine, Machine],
    alone: dict[str, bytes],
) -> None:
    random = np.random.default_rng(0)
    run = Run(machines[0], volumes, volume_run, tmp_path / "together")
    most = alone["manifest.jsonl"].count(b"\n") // 10
    before = [0]
    for _ in range(KILLS):
        process = run.start("--resume") if run.manifest.exists() else run.start()
        least = run.lines + int(random.integers(0, most))
        until(partial(run.working, least), "work goes on")
        process.kill()
        process.communicate()
        before.append(run.lines)
    assert before == sorted(before)
    assert 0 < before[-1] < len(alone["manifest.jsonl"].splitlines())
    run.finish(run.start("--resume"))
    assert tree(tmp_path / "together") == alone


@pytest.fixture
def disk(tmp_path: Path, alone: dict[str, bytes]) -> Iterator[Path]:
    """A disk for half of what is written."""
    folder = tmp_path / "disk"
    folder.mkdir()
    size = sum(map(len, alone.values())) // 2
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "disk", folder])
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_without_room(
    volumes: Path,
    volume_run: Path,
    alone: dict[str, bytes],
    disk: Path,
    machines: tuple[Machine, Machine],  # after the disk, which they must see
) -> None:
    run = Run(machines[0], volumes, volume_run, disk / "together")
    process = run.start()
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "No space left on device" in output
    assert "Traceback" not in output
    made = run.lines
    subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
    run.finish(run.start("--resume"))
    assert 0 < made < run.lines
    assert tree(disk / "together") == alone
