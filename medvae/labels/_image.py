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
        frame: which slice of its file, where it is one of several.
    """

    file: str
    shape: tuple[int, int]
    labels: Labels
    group: str = ""
    key: str = ""
    frame: int | None = None

    def identity(self) -> dict[str, str | int]:
        """Return the fields that say which patient and which slice it is."""
        fields = {"patient": self.group, "medvae_key": self.key}
        frame = {} if self.frame is None else {"frame": self.frame}
        return {**{field: value for field, value in fields.items() if value}, **frame}
