"""UIDs that are made of keys: the same key gives the same UID, which tells nothing of the key."""

from __future__ import annotations

from uuid import UUID

from pydicom.uid import UID

from medvae.records import pseudonym

__all__ = ["new_uid"]

_HASHED = 5
"""UUIDs of this version are hashes of a name."""


def new_uid(kind: str, *identity: str) -> UID:
    """Return the UID of something, below 2.25, where every UUID has its place.

    Args:
        kind: what is named, so that a study and a series of the same identity differ.
        identity: the parts that together identify it; ``MEDVAE_SECRET`` is mixed in.
    """
    digits = pseudonym(f"{kind} UID", *identity) + pseudonym(f"end of {kind} UID", *identity)
    return UID(f"2.25.{UUID(hex=digits[:32], version=_HASHED).int}")
