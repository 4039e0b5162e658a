"""Studies made by hand for the tests of labels; no pixels are needed to attach labels."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from medvae.geometry import Box, Geometry
from medvae.labels import Labelled
from medvae.records import Category, Finding, Labels, Mask, Pixels, Series, Slice, Source, Study

LESION = Category("glioma", "lesion")
ORGAN = Category("left ventricle", "organ")

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def no_pixels(source: Source) -> Pixels:
    raise AssertionError(f"{source.path}: labels must be attached without decoding")


def a_slice(
    path: Path | str,
    shape: tuple[int, int] = (20, 30),
    *,
    key: str = "",
    format: str = "picture",
    frame: int = 0,
    uid: str = "",
    series_uid: str = "",
    geometry: Geometry | None = None,
) -> Slice:
    return Slice(
        key=key or f"key of {path} {frame}",
        group="group",
        shape=shape,
        modality=None,
        geometry=geometry or Geometry(),
        source=Source(Path(path), format, frame, uid=uid, series_uid=series_uid),
        load=no_pixels,
    )


def a_study(*slices: Slice, key: str = "study", group_from: str = "folder") -> Study:
    return Study(key, "group", group_from, (Series(f"series of {key}", slices),))


def pictures(
    folder: Path, names: Iterable[str], shape: tuple[int, int] = (20, 30), key: str = "study"
) -> Study:
    return a_study(*(a_slice(folder / name, shape) for name in names), key=key)


def axial(
    path: Path,
    z: float,
    shape: tuple[int, int] = (40, 50),
    spacing: tuple[float, float] = (2.0, 1.0),
    corner: tuple[float, float] = (-10.0, -20.0),
    **source: object,
) -> Slice:
    """An axial slice whose first pixel's centre lies at ``corner`` (x, y) and height ``z``."""
    geometry = Geometry(spacing, (*corner, z), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    return a_slice(path, shape, geometry=geometry, **source)


def volume_slices(
    path: Path, shape: Sequence[int], affine: np.ndarray, columns: int, rows: int
) -> tuple[Slice, ...]:
    """The slices of a NIfTI volume, with the given voxel axes as columns and rows."""
    through = 3 - columns - rows
    to_lps = RAS_TO_LPS @ affine
    lengths = np.linalg.norm(to_lps[:3, :3], axis=0)
    units = to_lps[:3, :3] / lengths
    slices = []
    for index in range(shape[through]):
        voxel = np.zeros(4)
        voxel[through], voxel[3] = index, 1
        geometry = Geometry(
            (float(lengths[rows]), float(lengths[columns])),
            tuple(float(v) for v in (to_lps @ voxel)[:3]),
            tuple(float(v) for v in units[:, columns]),
            tuple(float(v) for v in units[:, rows]),
        )
        slices.append(
            a_slice(
                path, (shape[rows], shape[columns]), format="nifti", frame=index, geometry=geometry
            )
        )
    return tuple(slices)


def boxed(box: tuple[float, float, float, float], category: Category = LESION) -> Finding:
    return Finding(category, Box(*box))


def masked(full: np.ndarray, category: Category = LESION) -> Finding:
    mask = Mask.of(full)
    return Finding(category, mask.box, mask)


def labels_of(labelled: Labelled) -> dict[str, Labels | None]:
    """The labels of single-slice files, by the file's name."""
    return {s.source.path.name: s.labels for study in labelled.studies for s in study.slices}


def all_labels(labelled: Labelled) -> list[Labels | None]:
    return [s.labels for study in labelled.studies for s in study.slices]


def said(labelled: Labelled) -> list[str]:
    return [f"{problem.where}: {problem.what}" for problem in labelled.problems]
