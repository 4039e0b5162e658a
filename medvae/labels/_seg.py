"""Read DICOM segmentations, and assign their frames to the slices they were drawn on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.filereader import read_file_meta_info
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medvae.dicom import functional_group
from medvae.geometry import Geometry
from medvae.labels._format import LabelFormat, LabelSource
from medvae.labels._ledger import Ledger, Record
from medvae.labels._masks import add_masks
from medvae.labels._match import SliceIndex, UnplacedError, UnusableError
from medvae.labels._space import VoxelGrid
from medvae.records import Category, Slice

_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
_LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
_MOST_PIXELS = 2**32


class _SegmentationFrame(NamedTuple):
    """One frame of a segmentation.

    Attributes:
        segment: Segment number; None if the pixels hold segment numbers.
        source_uid, source_frame: Image that it was drawn on, if it names exactly one.
        grid: Position of its pixels in space, if it is given.
    """

    segment: int | None
    source_uid: str
    source_frame: int | None
    grid: VoxelGrid | None


def is_segmentation(path: Path) -> bool:
    """Return whether a file is a DICOM segmentation."""
    try:
        meta = read_file_meta_info(path)
        return str(meta.get("MediaStorageSOPClassUID")) in (_SEGMENTATION, _LABEL_MAP)
    except Exception:  # it is not DICOM, or broken, for which pydicom raises many kinds
        return False


class Segmentations(LabelFormat):
    """DICOM segmentation format."""

    name = "DICOM SEG"

    def holds(self, source: LabelSource) -> bool:
        return any(is_segmentation(file) for file in source.files)

    def resembles(self, source: LabelSource) -> str | None:
        return self.name if self.holds(source) else None

    def read(self, source: LabelSource, ledger: Ledger) -> str:
        """Read a DICOM segmentation, or the files in a folder of them.

        Images that a segmentation names as its sources, but for which it has no frame, are known
        to be empty, because most programs leave out empty frames.
        """
        for file in source.files:
            where = file.relative_to(source.folder).as_posix()
            with ledger.record(where):
                try:
                    file.open("rb").close()
                except OSError as error:
                    raise UnplacedError(f"cannot be read: {error.strerror}") from error
                if is_segmentation(file):
                    ledger.files.append(file)
                    ledger.claim(file)
                    _read(where, file, ledger)
        return self.name


def _read(where: str, path: Path, ledger: Ledger) -> None:
    try:
        if read_file_meta_info(path).TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
            raise UnusableError("is deflated, so its size is not known in advance; ignored")
        dataset = pydicom.dcmread(path)
        count = len(dataset.PerFrameFunctionalGroupsSequence)
        frames = [_frame(dataset, index) for index in range(count)]
        if len(frames) * dataset.Rows * dataset.Columns > _MOST_PIXELS:
            raise UnusableError(f"has {len(frames)} frames, which is too many; ignored")
        sources, series = _sources(dataset, ledger.index)
        with ledger.record(where, *sources) as record:
            _read_frames(record, dataset, frames, series)
            record.mention()
    except UnusableError:
        raise
    except Exception as error:  # pydicom raises many kinds on a broken file
        raise UnusableError(f"cannot be read: {error}") from error


def _read_frames(
    record: Record,
    dataset: pydicom.Dataset,
    frames: Sequence[_SegmentationFrame],
    series: Sequence[Slice],
) -> None:
    categories = {
        int(item.SegmentNumber): Category(str(item.SegmentLabel))
        for item in dataset.SegmentSequence
    }

    def category(segment: int) -> Category:
        if segment not in categories:
            raise UnusableError(f"its segment {segment} is not in SegmentSequence; ignored")
        return categories[segment]

    pixels = zip(frames, iter_pixels(dataset, raw=True), strict=True)
    for number, (frame, values) in enumerate(pixels, start=1):
        # A frame that cannot be placed may belong to any of the sources.
        among = () if frame.source_uid else record.slices
        with record.ledger.record(f"{record.where}, frame {number}", *among) as entry:
            slice_ = _slice(frame, record.ledger.index, series)
            entry.slices = [slice_]
            add_masks(entry, _segments(dataset, frame, values, slice_), category)


def _frame(dataset: pydicom.Dataset, index: int) -> _SegmentationFrame:
    def group(name: str) -> Any:
        return functional_group(dataset, index, name) or pydicom.Dataset()

    segment = group("SegmentIdentificationSequence").get("ReferencedSegmentNumber")
    derivation = dataset.PerFrameFunctionalGroupsSequence[index].get("DerivationImageSequence")
    sources = [one for item in derivation or () for one in item.get("SourceImageSequence") or ()]
    source = sources[0] if len(sources) == 1 else pydicom.Dataset()
    number = source.get("ReferencedFrameNumber")
    position = group("PlanePositionSequence").get("ImagePositionPatient")
    orientation = group("PlaneOrientationSequence").get("ImageOrientationPatient")
    measures = group("PixelMeasuresSequence")
    grid = None
    if position is not None and orientation is not None and "PixelSpacing" in measures:
        rows, columns = map(float, measures.PixelSpacing)
        a, b, c, d, e, f = map(float, orientation)
        x, y, z = map(float, position)
        plane = Geometry((rows, columns), (x, y, z), (a, b, c), (d, e, f))
        affine = plane.affine(float(measures.get("SliceThickness") or 1))
        shape = (int(dataset.Columns), int(dataset.Rows), 1)
        grid = VoxelGrid(shape, np.zeros((4, 4)) if affine is None else affine)
    return _SegmentationFrame(
        None if segment is None else int(segment),
        str(source.get("ReferencedSOPInstanceUID", "")),
        None if number is None else int(number) - 1,
        grid,
    )


def _sources(dataset: pydicom.Dataset, index: SliceIndex) -> tuple[list[Slice], Sequence[Slice]]:
    """Return the slices that a segmentation names as its sources, and all slices of its series."""
    sources: list[Slice] = []
    series: list[Slice] = []
    for item in dataset.get("ReferencedSeriesSequence") or ():
        series.extend(index.of_series_uid(str(item.get("SeriesInstanceUID", ""))))
        for instance in item.get("ReferencedInstanceSequence") or ():
            sources.extend(index.of_uid(str(instance.get("ReferencedSOPInstanceUID", ""))))
    return sources, series


def _slice(frame: _SegmentationFrame, index: SliceIndex, series: Sequence[Slice]) -> Slice:
    """Return the slice that a frame was drawn on: its source, or else the one at its position."""
    named = index.of_uid(frame.source_uid)
    if frame.source_frame is not None:
        named = [s for s in named if s.source.frame == frame.source_frame]
    if len(named) == 1:
        return named[0]
    if frame.source_uid and not named:
        raise UnusableError("its source image is not among the slices; ignored")
    in_place = list(frame.grid.places(named or series)) if frame.grid is not None else []
    if len(in_place) != 1:
        what = f"{len(in_place)} slices of its series lie at its position; ignored"
        raise UnplacedError(what, named or series)
    return in_place[0]


def _segments(
    dataset: pydicom.Dataset, frame: _SegmentationFrame, values: NDArray[Any], slice_: Slice
) -> NDArray[np.integer[Any]]:
    """Return the segment number of each pixel of a slice, ``[rows, columns]``; 0 for none."""
    if frame.segment is not None:
        fractional = dataset.SegmentationType == "FRACTIONAL"
        least = -(-int(dataset.MaximumFractionalValue) // 2) if fractional else 1
        values = np.where(values >= least, frame.segment, 0)
    if frame.grid is not None and slice_.geometry.position is not None:
        return frame.grid.place(slice_).take(values.T[:, :, None])
    if values.shape != slice_.shape:
        rows, columns = values.shape
        raise UnusableError(f"is {rows}x{columns}, but its slice is {slice_.shape}; ignored")
    return values
