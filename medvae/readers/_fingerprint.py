"""Fingerprints of files and slices by their content, and a check for changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from medvae.errors import UsageProblem
from medvae.records import Pixels, Slice, pseudonym

__all__ = ["check_unchanged", "fingerprint", "pixel_fingerprint"]

_WHOLE = 4 * 2**20
_PIECES = 64
_PIECE = 2**16


def fingerprint(path: Path) -> str:
    """Hash a small file as a whole, and a large one by its length and 64 evenly spaced pieces.

    The last piece is the file's end, where compressed formats keep their checksum.
    """
    size = path.stat().st_size
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    with path.open("rb") as file:
        if size <= _WHOLE:
            digest.update(file.read(_WHOLE))
        else:
            for i in range(_PIECES):
                file.seek((size - _PIECE) * i // (_PIECES - 1))
                digest.update(file.read(_PIECE))
    return digest.hexdigest()


def pixel_fingerprint(native: Slice, pixels: Pixels) -> str:
    """Hash the content of a slice: its pixels in real units, its padding and its geometry.

    A copy of the file has the same fingerprint, regardless of its name and timestamps.
    """
    header = [native.shape, native.modality, native.inverted, asdict(native.geometry)]
    digest = hashlib.blake2b(json.dumps(header).encode(), digest_size=16)
    for array in (pixels.values, pixels.padding):
        digest.update(b"" if array is None else np.ascontiguousarray(array).data)
    return pseudonym("pixels", digest.hexdigest())


def check_unchanged(
    before: Mapping[str, str], now: Mapping[str, str], files: Mapping[str, Path], where: Path
) -> None:
    """Check that the slices are the same as when a run began.

    Args:
        before: Fingerprints of the slices when the run began, by any key.
        now: Fingerprints of the current slices, by the same key.
        files: Files of the current slices, by the same key.
        where: Folder of the run, for the error message.

    Raises:
        UsageProblem: If a slice has changed, is new, or is missing.
    """
    changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if not changed:
        return
    file = next((str(files[key]) for key in changed if key in files), None)
    more = f" ({len(changed)} slices in all)" if len(changed) > 1 else ""
    said = f"is not what it was when the run in {where} began{more}"
    if file is None:
        file, said = str(where), f"{len(changed)} of the slices that its run began with are missing"
    raise UsageProblem(f"{file}: {said}: restore the data, or begin anew in another folder")
