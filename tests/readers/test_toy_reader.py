"""A reader takes a module and a line in the registry."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from medvae.formats import READERS, Reader, titles
from medvae.readers import (
    Decode,
    Decoded,
    FileHeader,
    FileRefused,
    FrameHeader,
    fingerprint,
    open_studies,
)
from medvae_cli.main import cli

MAGIC = b"TOY"


def is_toy(head: bytes) -> bool:
    return head.startswith(MAGIC)


def describe(path: Path, head: bytes) -> FileHeader:
    """Read the size from the first line, ``TOY 2 3``."""
    words = head.split(b"\n", 1)[0].split()
    if len(words) != 3:
        raise FileRefused("its first line does not give its size")
    rows, columns = map(int, words[1:])
    return FileHeader("toy", rows, columns, fingerprint(path), [FrameHeader()])


def open_frames(path: Path) -> Decode:
    """Read the lines after the first one, each of which is a row of numbers."""
    stored = np.loadtxt(path, dtype=np.int16, skiprows=1, ndmin=2)
    return lambda frame, axis, time: Decoded(stored, slope=2.0)


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A good file and a broken one, once the reader is registered."""
    open_studies([tmp_path])  # starts worker processes that do not know the reader
    monkeypatch.setitem(READERS, "toy", Reader("Toy", is_toy, __name__))
    (tmp_path / "good.toy").write_text("TOY 2 3\n1 2 3\n4 5 6\n")
    (tmp_path / "broken.toy").write_text("TOY\n")
    return tmp_path


def test_files_are_recognised_decoded_and_refused(toys: Path) -> None:
    scan = open_studies([toys])
    (found,) = scan.slices
    assert (found.source.format, found.shape) == ("toy", (2, 3))
    assert found.pixels().values.tolist() == [[2, 4, 6], [8, 10, 12]]
    (refused,) = (report for report in scan.files if report.outcome == "refused")
    assert (refused.path.name, refused.reason) == (
        "broken.toy",
        "its first line does not give its size",
    )


def test_the_command_reads_them(toys: Path) -> None:
    result = CliRunner().invoke(cli, ["inspect", str(toys), "--decode", "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["counts"] == {
        **{"read": 1, "skipped": 0, "refused": 1},
        **{"patients": 1, "studies": 1, "series": 1, "slices": 1},
    }
    assert told["studies"][0]["series"][0]["format"] == "toy"


def test_a_reader_that_is_no_longer_registered_reads_nothing(
    toys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(list(open_studies([toys]).slices)) == 1
    monkeypatch.delitem(READERS, "toy")
    assert {report.outcome for report in open_studies([toys]).files} == {"skipped"}


def test_help_lists_the_formats_of_the_registry(toys: Path) -> None:
    assert titles(READERS) == "DICOM, NIfTI, NRRD, MetaImage, PNG, JPEG, TIFF and Toy"
    text = " ".join(CliRunner().invoke(cli, ["inspect", "--help"]).stdout.split())
    assert f"Formats, in any mixture: {titles(READERS)}." in text


def test_a_reader_that_other_processes_cannot_import_is_an_error() -> None:
    with pytest.raises(ValueError, match="a reader runs in other processes"):
        Reader("Toy", lambda head: True, __name__)


def test_the_readme_names_all_formats() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert [
        one for one in titles(READERS).replace(" and", ",").split(", ") if one not in readme
    ] == []
