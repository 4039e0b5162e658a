"""Read NIfTI masks, and assign them to the slices that share their grid in the patient."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from medvae.geometry import swap_lps_ras
from medvae.gzips import WholeGzip
from medvae.labels._format import LabelSource
from medvae.labels._ledger import Ledger
from medvae.labels._masks import MaskFormat, add_masks, image_stem, mask_files
from medvae.labels._match import SliceIndex, UnplacedError, UnusableError, stem
from medvae.labels._space import Placed, VoxelGrid
from medvae.machine import machine_memory
from medvae.records import Slice

_BYTES_PER_VOXEL = 32
"""Memory that the machine must have for each voxel of a mask, which is read as a double."""


@dataclass(frozen=True)
class _Volume:
    where: str
    path: Path
    image: Any
    grid: VoxelGrid

    def values(self) -> NDArray[Any]:
        """Return the decoded voxels as ``[x, y, z]``."""
        voxels: NDArray[Any]
        try:
            if self.path.suffix.lower() == ".gz":
                with self.path.open("rb") as file, WholeGzip(file) as stream:
                    holder = nibabel.FileHolder(str(self.path), stream)
                    image: Any = type(self.image).from_file_map({"image": holder})
                    voxels = np.asanyarray(image.dataobj)
                    stream.finish()
            else:
                voxels = np.asanyarray(self.image.dataobj)
            voxels = voxels.reshape(self.grid.shape)
        except Exception as error:  # nibabel and gzip raise many kinds on a broken file
            raise UnusableError(f"cannot be decoded: {error}") from error
        if voxels.dtype.kind not in "biuf" or not np.isfinite(voxels).all():
            raise UnusableError(
                "holds colours or values that are not finite, so it is not a mask; ignored"
            )
        return voxels


class NiftiMasks(MaskFormat):
    """NIfTI masks, assigned to the slices that share their grid in the patient."""

    name = "NIfTI masks"
    endings = (".nii", ".nii.gz")

    def read(self, source: LabelSource, ledger: Ledger) -> str:
        """Read a NIfTI mask, or the files in a folder of them.

        A mask ``x_seg``, ``x_gt`` or ``x`` belongs to the image named ``x``, or else to those
        whose names begin with ``x_``. Without such an image, it belongs to the only series that
        has its grid.
        """
        folder = source.folder
        files = mask_files(source.files, self.endings, ledger.index)
        index = ledger.index.without(files)
        nameless: list[_Volume] = []
        for file in files:
            ledger.files.append(file)
            where = file.relative_to(folder)
            with ledger.record(where.as_posix()):
                volume = _open(where.as_posix(), file)
                slices = _named(where, volume.grid, folder, index)
                ledger.claim(file, *slices)
                if slices:
                    _lay(volume, slices, ledger)
                else:
                    nameless.append(volume)
        _lay_by_grid(nameless, index, ledger)
        return self.name


def _open(where: str, path: Path) -> _Volume:
    try:
        image: Any = nibabel.load(path)
        shape, affine = tuple(map(int, image.shape)), np.array(image.affine, dtype=np.float64)
    except Exception as error:  # nibabel raises many kinds on a broken file
        raise UnusableError(f"cannot be read: {error}") from error
    if len(shape) < 3 or math.prod(shape) != math.prod(shape[:3]):
        raise UnusableError(f"has the shape {shape}, not that of one volume; ignored")
    most = machine_memory() // _BYTES_PER_VOXEL
    if not 0 < math.prod(shape) <= most:
        raise UnusableError(
            f"has {math.prod(shape)} voxels, of which {most} fit in memory; ignored"
        )
    return _Volume(where, path, image, VoxelGrid(shape[:3], swap_lps_ras(affine)))


def _named(where: Path, grid: VoxelGrid, folder: Path, index: SliceIndex) -> Sequence[Slice]:
    """Return the slices of the images that a mask's name refers to; empty if there are none."""
    beginning = image_stem(where.name)
    for name in (stem(where.name), beginning):
        path = (where.parent / name).as_posix()
        if index.files(path, folder):
            return index.named(path, folder)
    files = index.files_beginning(beginning)
    slices = [slice_ for file in files for slice_ in index.of_file(file)]
    if len({file.parent for file in files}) > 1:
        what = f"images named {beginning!r} lie in several folders; ignored"
        raise UnplacedError(what, slices)
    return list(_places(grid, slices)) or slices


def _lay_by_grid(nameless: Sequence[_Volume], index: SliceIndex, ledger: Ledger) -> None:
    """Assign each mask to the only series that has its grid and that no other mask fits."""
    fitting = [_with_grid(volume.grid, index) for volume in nameless]
    claims = Counter(owner for owners in fitting for owner in owners)
    for volume, owners in zip(nameless, fitting, strict=True):
        with ledger.record(volume.where):
            if len(owners) != 1:
                raise UnplacedError(
                    f"no image has its name, and {len(owners)} images have its grid; ignored",
                    [slice_ for slices in owners.values() for slice_ in slices],
                )
            ((owner, slices),) = owners.items()
            if claims[owner] > 1:
                raise UnplacedError(
                    f"no image has its name, and {claims[owner]} masks fit the image with its "
                    "grid; ignored",
                    slices,
                )
            _lay(volume, slices, ledger)


def _with_grid(grid: VoxelGrid, index: SliceIndex) -> dict[str, list[Slice]]:
    """Return, for each image whose shape and position match a grid, its slices."""
    images: defaultdict[str, list[Slice]] = defaultdict(list)
    for stack in index.stacks:
        places = _places(grid, stack)
        planes = {placed.plane for placed in places.values()}
        if len(places) == len(stack) and len(planes) == grid.shape[next(iter(planes))[0]]:
            source = stack[0].source
            # The time points of an image count as one image.
            images[source.series_uid or str(source.path)].extend(stack)
    return images


def _places(grid: VoxelGrid, slices: Sequence[Slice]) -> dict[Slice, Placed]:
    """Return the positions of those slices that fill a plane of a grid."""
    return {
        slice_: placed
        for slice_, placed in grid.places(slices).items()
        if math.prod(slice_.shape) * grid.shape[placed.plane[0]] == math.prod(grid.shape)
    }


def _lay(volume: _Volume, slices: Sequence[Slice], ledger: Ledger) -> None:
    """Add to each slice the findings in its part of a mask."""
    if not _places(volume.grid, slices):
        volume.grid.place(slices[0])
        raise UnusableError("its planes are larger than the slices of its image; ignored")
    voxels = volume.values()
    for slice_ in slices:
        where = f"{volume.where}, slice {slice_.source.frame} of {slice_.source.path.name}"
        with ledger.record(where, slice_) as record:
            add_masks(record, volume.grid.place(slice_).take(voxels))
