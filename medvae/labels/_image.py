"""What a label writer needs of an image."""

from __future__ import annotations

from dataclasses import dataclass

from medvae.records import Labels

__all__ = ["LabelledImage"]


@dataclass(frozen=True)
class LabelledImage:
    """What a label writer needs of one written image.

    Attributes:
        file: path of the image relative to the label file or folder, with ``/``.
        shape: rows and columns.
        labels: what is on it; empty: nothing.
        group: pseudonym of its patient.
        key: key of its slice.
    """

    file: str
    shape: tuple[int, int]
    labels: Labels
    group: str = ""
    key: str = ""

    def identity(self) -> dict[str, str]:
        """Return the fields that say which patient and which slice it is."""
        fields = {"patient": self.group, "medvae_key": self.key}
        return {field: value for field, value in fields.items() if value}
