"""What tests of the augmentation do with a run: make it, and read back what it wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medvae.augmentation import augment

__all__ = ["lines_of", "made"]

Line = dict[str, Any]


def made(studies: Path, run: Path, out: Path, **choices: Any) -> list[Line]:
    """Augment studies; return the lines of the manifest."""
    augment([studies], run, out, **{"labels": studies / "coco.json", **choices})
    return lines_of(out)


def lines_of(out: Path) -> list[Line]:
    """Return the lines of a manifest, which must be JSON to the letter."""
    lines = (out / "manifest.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=pytest.fail) for line in lines]
