"""Files are written as a whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from medvae.atomic import write_bytes, write_files, write_text
from medvae.errors import WriteError


def test_folders_are_made(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "c.txt", "grün")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == "grün".encode()


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    write_bytes(path, b"old")
    script = (
        "import resource, sys; from pathlib import Path; from medvae.atomic import write_bytes\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))\n"
        "write_bytes(Path(sys.argv[1]), bytes(2**20))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines()[-1] == (
        f"medvae.errors.WriteError: {path}: cannot be written: File too large"
    )
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="cannot be written: Is a directory"):
        write_text(tmp_path, "text")


def test_several_files_are_replaced_together(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    write_bytes(path, b"old")
    with pytest.raises(WriteError, match="weights/names: cannot be written: Not a directory"):
        write_files({path: b"new", path / "names": b"new"})
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
