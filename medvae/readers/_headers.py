"""Headers of files and slices, as readers return them and worker processes send them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["BURNED_IN", "FileHeader", "FrameHeader", "Refused", "Skipped"]

BURNED_IN = "text is burned into its pixels (BurnedInAnnotation YES)"
"""Flag of files whose header states this."""


class Skipped(Exception):
    """Raised for a file that is not an image that medvae reads."""


class Refused(Exception):
    """Raised for a file that should be such an image, but cannot be trusted."""


@dataclass
class FrameHeader:
    """The header of one slice. Vectors are in LPS millimetres, or None if the file has none.

    Attributes:
        frame, axis, time: Location of the slice in the file, as in ``records.Source``.
        stack: Text that slices must share, besides orientation, to belong to one series.
        when: Attributes that distinguish slices at the same position, such as an echo time.
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
    """The header of one readable file, and of the slices in it.

    Attributes:
        uid: SOPInstanceUID, or a fingerprint of the content if there is none.
        named: Whether ``uid`` may belong to one image only, as a SOPInstanceUID does.
        instance: InstanceNumber.
        flags: Descriptions of what is unusual about the file.
        beside: Name of the file in the same folder that holds the voxels, if any.
        layout: Fields of a ``records.Layout``, if the pixels need no decoder.
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
        """Return the header as plain JSON values."""
        return {**vars(self), "frames": [vars(frame) for frame in self.frames]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> FileHeader:
        """Create a header from the values returned by ``to_json``."""
        frames: list[dict[str, Any]] = data.pop("frames")
        for frame in frames:  # JSON has no tuples
            frame.update({k: tuple(v) for k, v in frame.items() if isinstance(v, list)})
        return cls(frames=[FrameHeader(**frame) for frame in frames], **data)
