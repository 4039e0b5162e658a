"""Headers of the frames of a DICOM file, from plain attributes or functional groups."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from medvae.dicom import GROUP_SEQUENCES, Attributes, functional_group
from medvae.geometry import Geometry, Vector
from medvae.readers._contract import FileRefused, FrameHeader
from medvae.readers._limits import check_geometry, plausible_thickness, plausible_window

_WHEN = {
    "TemporalPositionIdentifier": "",
    "TemporalPositionIndex": "FrameContentSequence",
    "EchoNumbers": "",
    "EchoTime": "",
    "EffectiveEchoTime": "MREchoSequence",
    "InversionTime": "",
    "DiffusionBValue": "MRDiffusionSequence",
    "TriggerTime": "",
    "NominalCardiacTriggerDelayTime": "CardiacSynchronizationSequence",
    "AcquisitionNumber": "",
    "AcquisitionDateTime": "",
    "AcquisitionTime": "",
}
"""Attributes that distinguish slices at one position, and the functional group of each."""

_WINDOW = ("WindowCenter", "WindowWidth")

FRAME_TAGS = [
    "ImageType",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "SliceThickness",
    *_WINDOW,
    *GROUP_SEQUENCES,
    *_WHEN,
]


def describe_frames(
    dataset: dict[str, Any], rows: int, columns: int, count: int
) -> list[FrameHeader]:
    """Describe all frames of a file; a file that is not multi-frame has one."""
    try:
        groups = dataset.get("PerFrameFunctionalGroupsSequence")
        if groups is not None and len(groups) < count:
            raise FileRefused(f"its header describes only {len(groups)} of its {count} frames")
        if groups is None and count > 1:
            # A single position for many frames is not the position of any.
            dataset = {**dataset, "ImagePositionPatient": None}
        return [_describe_frame(dataset, rows, columns, frame) for frame in range(count)]
    except (TypeError, ValueError, AttributeError) as error:
        raise FileRefused(f"its geometry cannot be interpreted: {error}") from error


def _describe_frame(dataset: Attributes, rows: int, columns: int, frame: int) -> FrameHeader:
    def group(name: str) -> Attributes:
        return functional_group(dataset, frame, name) or dataset

    position = _numbers(group("PlanePositionSequence").get("ImagePositionPatient"), 3)
    axes = _numbers(group("PlaneOrientationSequence").get("ImageOrientationPatient"), 6)
    along_row, along_column = _unit(axes[:3]), _unit(axes[3:])
    if not position or along_row is None or along_column is None:
        position = ()
    measures = group("PixelMeasuresSequence")
    spacing = _numbers(measures.get("PixelSpacing") or dataset.get("ImagerPixelSpacing"), 2)
    check_geometry(position, tuple(size for size in spacing if size > 0))
    thickness = _numbers(measures.get("SliceThickness"), 1)
    shown = group("FrameVOILUTSequence")
    window = [n for name in _WINDOW for n in _numbers([*_several(shown.get(name))][:1], 1)]
    return FrameHeader(
        frame=frame,
        geometry=Geometry(
            spacing=(spacing[0], spacing[1]) if spacing and min(spacing) > 0 else None,
            position=_vector(position),
            along_row=along_row if position else None,
            along_column=along_column if position else None,
            thickness=thickness[0] if thickness and plausible_thickness(thickness[0]) else None,
        ),
        window=(window[0], window[1]) if len(window) == 2 and plausible_window(*window) else None,
        stack=f"{rows}x{columns} {_kind(dataset, frame)}",
        when=_when(dataset, frame),
    )


def _kind(dataset: Attributes, frame: int) -> str:
    """Return the type of image, which distinguishes a localizer or a map, and the stack, if any."""
    kind = dataset.get("ImageType")
    for name in ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence"):
        kind = (functional_group(dataset, frame, name) or {}).get("FrameType") or kind
    stack = (functional_group(dataset, frame, "FrameContentSequence") or {}).get("StackID")
    return "\\".join(_texts(kind)) + ("" if stack in (None, "") else f" stack {stack}")


def _when(dataset: Attributes, frame: int) -> dict[str, str]:
    found = {}
    for name, group in _WHEN.items():
        item = functional_group(dataset, frame, group) if group else None
        value = dataset.get(name) if item is None else item.get(name)
        if value not in (None, ""):
            found[name] = "\\".join(_texts(value))
    content = functional_group(dataset, frame, "FrameContentSequence") or {}
    for i, value in enumerate(_several(content.get("DimensionIndexValues"))):
        found[f"DimensionIndexValues {i}"] = str(value)
    return found


def _several(value: Any) -> Iterable[Any]:
    if value is None:
        return ()
    return value if isinstance(value, Iterable) and not isinstance(value, str) else (value,)


def _texts(value: Any) -> list[str]:
    return [str(part) for part in _several(value)]


def _numbers(value: Any, count: int) -> tuple[float, ...]:
    """Return ``count`` finite numbers, or an empty tuple if the value is anything else."""
    try:
        numbers = tuple(float(part) for part in _several(value) if part is not None)
    except (TypeError, ValueError):
        return ()
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else ()


def _vector(numbers: tuple[float, ...]) -> Vector | None:
    return (numbers[0], numbers[1], numbers[2]) if numbers else None


def _unit(numbers: tuple[float, ...]) -> Vector | None:
    length = math.hypot(*numbers)
    # A vector far from unit length is not a direction: the slice then has no position.
    return _vector(tuple(n / length for n in numbers)) if abs(length - 1) < 0.01 else None
