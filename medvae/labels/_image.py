"""Images as label writers need them."""

from __future__ import annotations

from dataclasses import dataclass

from medvae.records import Labels

__all__ = ["LabelledImage"]


@dataclass(frozen=True)
class LabelledImage:
    """Properties of one written image that a label writer needs.

    Attributes:
        file: Path of the image relative to the label file or folder, separated by ``/``.
        shape: Numbers of rows and columns.
        labels: Labels of the image; empty if there is nothing on it.
        group: Pseudonym of its patient.
        key: Key of its slice.
        frame: Index of the slice in its file, if the file has several slices.
    """

    file: str
    shape: tuple[int, int]
    labels: Labels
    group: str = ""
    key: str = ""
    frame: int | None = None

    def identity(self) -> dict[str, str | int]:
        """Return the fields that identify the patient and the slice."""
        fields = {"patient": self.group, "medvae_key": self.key}
        frame = {} if self.frame is None else {"frame": self.frame}
        return {**{field: value for field, value in fields.items() if value}, **frame}
