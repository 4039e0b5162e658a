"""The preview page: entries wait in files, which may be damaged by the time they are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from medvae.augmentation._preview import Preview
from medvae.errors import ReadError
from medvae.manifest import Manifest


@pytest.mark.parametrize("text", ["{", '{"key": 3}', '{"key": "a", "pictures": [{}]}'])
def test_a_damaged_entry_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / ".preview").mkdir()
    (tmp_path / ".preview" / "a.json").write_text(text)
    with pytest.raises(ReadError, match=r"\.preview/a\.json"):
        Preview(tmp_path, ["a"]).write(Manifest(tmp_path), "Synthetic slices")
