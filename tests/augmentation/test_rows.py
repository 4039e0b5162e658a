"""Arrays of many slices are stored outside the memory, and read as they were written."""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest

from medvae.augmentation._rows import _IN_MEMORY, Rows
from medvae.errors import WriteError


@pytest.mark.parametrize("count", [1, 40])
def test_arrays_are_read_by_their_number(count: int) -> None:
    rows = Rows((512, 512), np.float32)
    written = np.random.default_rng(0).random((count, 512, 512), np.float32)
    for array in written:
        rows.append(array[None])
    assert len(rows) == count
    wanted = np.random.default_rng(1).integers(0, count, 9)
    np.testing.assert_array_equal(rows[wanted], written[wanted])
    again = pickle.loads(pickle.dumps(rows))
    again.append(written[:1])
    np.testing.assert_array_equal(again[[0, count]], written[[0, 0]])
    assert len(rows) == count


def test_none_can_be_read() -> None:
    assert Rows((2, 3), np.uint8)[[]].shape == (0, 2, 3)


def test_many_are_stored_in_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    rows = Rows((2**20,), np.uint8)
    one = np.zeros((1, 2**20), np.uint8)
    for _ in range(_IN_MEMORY // 2**20):
        rows.append(one)
    with pytest.raises(WriteError, match=r"missing: cannot be written: .* set TMPDIR to a folder"):
        rows.append(one)
