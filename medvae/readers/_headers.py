"""What a reader says of a file after its header alone; it crosses the border of processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["BURNED_IN", "FileHeader", "FrameHeader", "Refused", "Skipped"]

BURNED_IN = "text is burned into its pixels (BurnedInAnnotation YES)"
"""The flag of files that say so."""


class Skipped(Exception):
    """The file is not one of the images that are read here."""


class Refused(Exception):
    """The file should be such an image, but cannot be trusted."""


@dataclass
class FrameHeader:
    """One slice of a file. Vectors are in LPS millimetres; None where the file does not say.

    Attributes:
        frame, axis, time: where it is in the file, as in ``records.Source``.
        stack: what slices must share, beside orientation, to lie in one series.
        when: attributes that tell apart slices at the same position, such as an echo time.
    """

    frame: int = 0
    axis: int = 2
    time: int = 0
    position: tuple[float, float, float] | None = None
    along_row: tuple[float, float, float] | None = None
    along_column: tuple[float, float, float] | None = None
    spacing: tuple[float, float] | None = None
    thickness: float | None = None
    window: tuple[float, float] | None = None
    stack: str = ""
    when: dict[str, str] = field(default_factory=dict)


@dataclass
class FileHeader:
    """One file that can be read, and the slices in it.

    Attributes:
        uid: SOPInstanceUID, or a fingerprint of the content where there is none.
        named: whether ``uid`` is a name that no other image may have, as a SOPInstanceUID is.
        instance: InstanceNumber.
        flags: what is unusual about the file.
        beside: name of a file beside it that holds its voxels.
        layout: fields of a ``records.Layout``, where its pixels need no decoder.
    """

    format: str
    rows: int
    columns: int
    uid: str
    frames: list[FrameHeader]
    named: bool = False
    modality: str | None = None
    series_uid: str = ""
    study_uid: str = ""
    patient: str = ""
    inverted: bool = False
    burned_in: bool = False
    instance: int | None = None
    flags: list[str] = field(default_factory=list)
    beside: str = ""
    layout: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {**vars(self), "frames": [vars(frame) for frame in self.frames]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> FileHeader:
        """Make it again from what ``to_json`` gave."""
        frames: list[dict[str, Any]] = data.pop("frames")
        for frame in frames:  # JSON has no tuples
            frame.update({k: tuple(v) for k, v in frame.items() if isinstance(v, list)})
        return cls(frames=[FrameHeader(**frame) for frame in frames], **data)
