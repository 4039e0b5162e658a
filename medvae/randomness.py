"""Keyed random numbers: the same key gives the same numbers, whatever was drawn before."""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["generator"]


def generator(seed: int, *key: str | int) -> np.random.Generator:
    """Return the counter-based generator for a key.

    A draw that takes its numbers from the generator for its own key does not depend on batch
    size, order, number of workers, or how often a run was resumed.

    Args:
        seed: Random seed of the whole run.
        key: Purpose of the numbers, such as the key of a slice and the number of the copy.
    """
    digest = hashlib.blake2b(digest_size=16, person=b"medvae draw")
    for part in (seed, *key):
        data = repr(part).encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest.digest(), "little")))
