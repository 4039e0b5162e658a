"""What files and slices are by their content: a name, and whether they have changed."""

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
    """Hash the file: the whole of a small one, its length and 64 even pieces of a large one.

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
    """Hash what is read of a slice: its pixels in real units, its padding, and where it lies.

    A copy of the file has the same fingerprint, whatever its name and its times are.
    """
    header = [native.shape, native.modality, native.inverted, asdict(native.geometry)]
    digest = hashlib.blake2b(json.dumps(header).encode(), digest_size=16)
    for array in (pixels.values, pixels.padding):
        digest.update(b"" if array is None else np.ascontiguousarray(array).data)
    return pseudonym("pixels", digest.hexdigest())


def check_unchanged(
    before: Mapping[str, str], now: Mapping[str, str], files: Mapping[str, Path], where: Path
) -> None:
    """Refuse slices that are not what they were when a run began.

    Args:
        before: The fingerprints of slices when it began, by any key.
        now: Those of the slices that there are.
        files: The files of these, by the same key.
        where: The folder of the run, for the message.

    Raises:
        UsageProblem: A slice has changed, is new, or is gone.
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
