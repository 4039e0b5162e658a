"""UIDs derived from keys: the same key gives the same UID, which reveals nothing of the key."""

from __future__ import annotations

from uuid import UUID

from pydicom.uid import UID

from medvae.records import pseudonym

__all__ = ["new_uid"]

_HASHED = 5
"""Version of UUIDs that are hashes of a name."""


def new_uid(kind: str, *identity: str) -> UID:
    """Return the UID of an object under 2.25, the root of UIDs made from UUIDs.

    Args:
        kind: Kind of object, so that a study and a series of the same identity differ.
        identity: Strings that together identify the object; ``MEDVAE_SECRET`` is mixed in.
    """
    digits = pseudonym(f"{kind} UID", *identity) + pseudonym(f"end of {kind} UID", *identity)
    return UID(f"2.25.{UUID(hex=digits[:32], version=_HASHED).int}")
