"""NIfTI, NRRD and MetaImage: slices of any orientation, exact values, doubtful headers."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.orientations import axcodes2ornt, ornt_transform
from numpy.typing import NDArray

from medvae.errors import DecodeError
from medvae.readers import open_studies, read_pixels, verify_pixels
from medvae.records import Series
from phantoms import outcomes, reasons, world_of_pixels

SHAPE = (6, 7, 5)
SIZES = (1.5, 1.25, 4.0)
TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def volume(shape: tuple[int, ...] = SHAPE, dtype: str = "int16") -> NDArray[Any]:
    return np.random.default_rng(0).integers(-500, 500, shape).astype(dtype)


def save_nifti(path: Path, voxels: NDArray[Any], affine: NDArray[Any] | None = None) -> Any:
    image = nibabel.Nifti1Image(voxels, np.diag([*SIZES, 1]) if affine is None else affine)
    nibabel.save(image, path)
    return image


def only_series(path: Path, **options: Any) -> Series:
    scan = open_studies([path], **options)
    ((series,),) = (study.series for study in scan.studies)
    return series


ORIENTATIONS = [
    "".join(code)
    for axes in itertools.permutations(("RL", "AP", "SI"))
    for code in itertools.product(*axes)
]


@pytest.mark.parametrize("code", ORIENTATIONS)
def test_every_pixel_is_where_its_geometry_says(tmp_path: Path, code: str) -> None:
    voxels = volume(dtype="float32")
    canonical = nibabel.Nifti1Image(voxels, np.diag([*SIZES, 1]))
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(code))
    image = canonical.as_reoriented(turn)
    nibabel.save(image, tmp_path / "a.nii.gz")
    to_voxel = np.linalg.inv(TO_LPS @ image.affine)
    data = np.asarray(image.dataobj)
    series = only_series(tmp_path)
    assert len(series.slices) == SHAPE[2]
    assert series.gap == pytest.approx(SIZES[2])
    heights = [item.geometry.position[2] for item in series.slices if item.geometry.position]
    assert heights == sorted(heights, reverse=heights[0] > heights[-1])
    for item in series.slices:
        index = np.rint(world_of_pixels(item) @ to_voxel[:3, :3].T + to_voxel[:3, 3]).astype(int)
        expected = data[index[..., 0], index[..., 1], index[..., 2]]
        np.testing.assert_array_equal(item.pixels().values, expected)
        # Columns run left-right in an axial slice, whatever the order of the voxels.
        assert np.argmax(np.abs(item.geometry.along_row or 0)) == 0


class TestSliceAxis:
    def test_coarsest_of_an_anisotropic_volume(self, tmp_path: Path) -> None:
        save_nifti(tmp_path / "a.nii", volume(), np.diag([3.0, 1, 1, 1]))
        assert {item.source.axis for item in only_series(tmp_path).slices} == {0}

    def test_axial_of_an_isotropic_one(self, tmp_path: Path) -> None:
        affine = np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
        save_nifti(tmp_path / "a.nii", volume(), affine)
        assert {item.source.axis for item in only_series(tmp_path).slices} == {1}

    def test_stated_in_the_header(self, tmp_path: Path) -> None:
        image = nibabel.Nifti1Image(volume(), np.eye(4))
        image.header.set_dim_info(slice=0)
        nibabel.save(image, tmp_path / "a.nii")
        assert {item.source.axis for item in only_series(tmp_path).slices} == {0}


class TestNifti:
    def test_scaling_is_applied_and_stored_values_kept(self, tmp_path: Path) -> None:
        image = nibabel.Nifti1Image(volume(), np.diag([*SIZES, 1]))
        image.header.set_slope_inter(0.5, -10)
        nibabel.save(image, tmp_path / "a.nii")
        loaded = nibabel.load(tmp_path / "a.nii")
        item = only_series(tmp_path).slices[2]
        pixels = item.pixels()
        assert pixels.stored.dtype == np.int16
        np.testing.assert_array_equal(pixels.stored, loaded.dataobj.get_unscaled()[..., 2].T)
        np.testing.assert_array_equal(
            pixels.values, loaded.get_fdata()[..., 2].T.astype(np.float32)
        )

    def test_suffix_does_not_count(self, tmp_path: Path) -> None:
        save_nifti(tmp_path / "a.nii.gz", volume())
        save_nifti(tmp_path / "b.nii", volume() + 1)
        (tmp_path / "a.nii.gz").rename(tmp_path / "first")
        (tmp_path / "b.nii").rename(tmp_path / "second.gz")
        assert set(outcomes(open_studies([tmp_path])).values()) == {"read"}

    def test_time_points_become_series(self, tmp_path: Path) -> None:
        voxels = volume((*SHAPE, 3))
        save_nifti(tmp_path / "a.nii.gz", voxels)
        (study,) = open_studies([tmp_path]).studies
        assert [s.flags for s in study.series] == [(f"time point {t} of 3",) for t in (1, 2, 3)]
        for time, series in enumerate(study.series):
            np.testing.assert_array_equal(
                np.stack([item.pixels().stored for item in series.slices], -1),
                voxels[..., time].swapaxes(0, 1),
            )

    def test_two_dimensions(self, tmp_path: Path) -> None:
        voxels = volume((6, 7))
        save_nifti(tmp_path / "a.nii", voxels)
        (item,) = only_series(tmp_path).slices
        np.testing.assert_array_equal(item.pixels().stored, voxels.T)

    def test_forms_that_differ_are_flagged(self, tmp_path: Path) -> None:
        image = nibabel.Nifti1Image(volume(), np.diag([*SIZES, 1]))
        image.set_sform(np.diag([*SIZES, 1]), code=1)
        turned = np.diag([*SIZES, 1])
        turned[:3, 3] = 50
        image.set_qform(turned, code=1)
        nibabel.save(image, tmp_path / "a.nii")
        assert only_series(tmp_path).flags == ("sform and qform differ: sform is used",)

    def test_no_orientation_is_flagged(self, tmp_path: Path) -> None:
        image = nibabel.Nifti1Image(volume(), None)
        image.set_sform(None, code=0)
        image.set_qform(None, code=0)
        nibabel.save(image, tmp_path / "a.nii")
        (flag,) = only_series(tmp_path).flags
        assert flag == "no orientation in the header (neither sform nor qform)"

    def test_nan_is_refused_unless_told(self, tmp_path: Path) -> None:
        voxels = volume(dtype="float32")
        voxels[2, 3, 1] = np.nan
        save_nifti(tmp_path / "a.nii", voxels)
        scan = open_studies([tmp_path])
        item = next(item for item in scan.slices if item.source.frame == 1)
        with pytest.raises(DecodeError, match="1 values that are NaN"):
            item.pixels()
        checked = verify_pixels(scan)
        assert outcomes(checked) == {"a.nii": "refused"}
        assert "NaN" in reasons(checked)["a.nii"]
        item = only_series(tmp_path, nan_as_padding=True).slices[1]
        pixels = item.pixels()
        assert pixels.padding is not None
        assert np.argwhere(pixels.padding).tolist() == [[3, 2]]
        assert pixels.values[3, 2] == np.nanmin(voxels[..., 1])

    def test_colours_are_refused(self, tmp_path: Path) -> None:
        rgb = np.zeros(SHAPE, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
        save_nifti(tmp_path / "a.nii", rgb)
        save_nifti(tmp_path / "b.nii", volume().astype("complex64"))
        scan = open_studies([tmp_path])
        assert outcomes(scan) == {"a.nii": "refused", "b.nii": "refused"}
        assert "colours" in reasons(scan)["a.nii"]

    @pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
    def test_truncated_files_are_refused(self, tmp_path: Path, name: str) -> None:
        save_nifti(tmp_path / name, volume((40, 40, 40)))
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) * 2 // 3])
        scan = open_studies([tmp_path])
        assert outcomes(scan) == {name: "refused"}
        assert "truncated" in reasons(scan)[name]

    @pytest.mark.parametrize("lost", [1, 300, 352])
    def test_a_few_lost_bytes_are_noticed(self, tmp_path: Path, lost: int) -> None:
        save_nifti(tmp_path / "a.nii", volume())
        data = (tmp_path / "a.nii").read_bytes()
        (tmp_path / "a.nii").write_bytes(data[:-lost])
        assert reasons(open_studies([tmp_path])) == {
            "a.nii": f"it is truncated: only {len(data) - lost} of {len(data)} bytes are present"
        }

    def test_an_extension_is_not_taken_for_voxels(self, tmp_path: Path) -> None:
        image = nibabel.Nifti1Image(volume(), np.diag([*SIZES, 1]))
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"x" * 5000))
        nibabel.save(image, tmp_path / "a.nii")
        data = (tmp_path / "a.nii").read_bytes()
        assert outcomes(open_studies([tmp_path])) == {"a.nii": "read"}
        (tmp_path / "a.nii").write_bytes(data[: 1 - volume().nbytes])
        assert reasons(open_studies([tmp_path]))["a.nii"].startswith("it is truncated")

    def test_a_scan_does_not_inflate_the_voxels(self, tmp_path: Path) -> None:
        save_nifti(tmp_path / "a.nii.gz", volume((40, 40, 40)))
        data = (tmp_path / "a.nii.gz").read_bytes()
        # What is lost from the middle is noticed by nobody who reads the header and the end.
        (tmp_path / "a.nii.gz").write_bytes(data[:20000] + data[21000:])
        scan = open_studies([tmp_path])
        assert outcomes(scan) == {"a.nii.gz": "read"}
        assert outcomes(verify_pixels(scan)) == {"a.nii.gz": "refused"}

    @pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
    def test_a_broken_header_is_told_by_what_is_broken(self, tmp_path: Path, kind: Any) -> None:
        image = kind(volume(), np.diag([*SIZES, 1]))
        nibabel.save(image, tmp_path / "a.nii")
        data = bytearray((tmp_path / "a.nii").read_bytes())
        at = 70 if kind is nibabel.Nifti1Image else 12
        data[at : at + 2] = (999).to_bytes(2, "little")
        (tmp_path / "a.nii").write_bytes(data)
        assert reasons(open_studies([tmp_path])) == {
            "a.nii": "its NIfTI header is invalid: data code 999 not recognized"
        }

    def test_a_file_of_several_gzip_members_is_whole(self, tmp_path: Path) -> None:
        save_nifti(tmp_path / "a.nii", volume())
        data = (tmp_path / "a.nii").read_bytes()
        (tmp_path / "a.nii").unlink()
        (tmp_path / "b.nii.gz").write_bytes(gzip.compress(data[:400]) + gzip.compress(data[400:]))
        assert outcomes(open_studies([tmp_path])) == {"b.nii.gz": "read"}

    @pytest.mark.parametrize("name", ["scl_slope", "scl_inter"])
    @pytest.mark.parametrize("value", [np.inf, -3e38])
    def test_a_scale_that_gives_no_numbers_is_refused(
        self, tmp_path: Path, name: str, value: float
    ) -> None:
        save_nifti(tmp_path / "a.nii", volume())
        data = bytearray((tmp_path / "a.nii").read_bytes())
        for field, number in (("scl_slope", 1.0), ("scl_inter", 0.0), (name, value)):
            at = 112 if field == "scl_slope" else 116
            data[at : at + 4] = np.float32(number).tobytes()
        (tmp_path / "a.nii").write_bytes(data)
        reason = reasons(open_studies([tmp_path]))["a.nii"]
        assert reason == f"its {name} is {np.float32(value):g}, which is not a usable number"

    def test_masks_are_told_by_name(self, tmp_path: Path) -> None:
        for name in ("p1.nii.gz", "p1_seg.nii.gz", "p2-mask.nii"):
            save_nifti(tmp_path / name, volume())
        scan = open_studies([tmp_path])
        assert outcomes(scan) == {
            "p1.nii.gz": "read",
            "p1_seg.nii.gz": "skipped",
            "p2-mask.nii": "skipped",
        }
        named = open_studies([tmp_path / "p1_seg.nii.gz"])
        assert outcomes(named) == {"p1_seg.nii.gz": "read"}

    def test_equal_files_have_keys_of_their_own(self, tmp_path: Path) -> None:
        for folder in ("p1", "p2"):
            (tmp_path / folder).mkdir()
            save_nifti(tmp_path / folder / "a.nii", volume())
        scan = open_studies([tmp_path])
        assert len({item.key for item in scan.slices}) == 2 * SHAPE[2]
        assert len({study.group for study in scan.studies}) == 2
        assert "same content as" in [report.reason for report in scan.files][1]


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha", "a.mhd", "a.nhdr"])
def test_itk_formats(tmp_path: Path, name: str) -> None:
    voxels = volume()
    image = sitk.GetImageFromArray(voxels.transpose(2, 1, 0))
    image.SetSpacing(SIZES)
    image.SetOrigin((3, -4, 5))
    image.SetDirection((0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / name))
    scan = open_studies([tmp_path])
    assert set(outcomes(scan).values()) == {"read"}
    ((series,),) = (study.series for study in scan.studies)
    assert len(series.slices) == SHAPE[2]
    for index, item in enumerate(series.slices):
        row, column = 4, 2
        expected = image.TransformIndexToPhysicalPoint((column, row, index))
        assert world_of_pixels(item)[row, column] == pytest.approx(expected)
        np.testing.assert_array_equal(item.pixels().values, voxels[..., index].T)


def test_a_detached_header_reaches_no_other_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x" * 1000)
    inside = tmp_path / "inside"
    inside.mkdir()
    for name, target in (("a.mhd", "../secret"), ("b.mhd", str(tmp_path / "secret"))):
        (inside / name).write_text(
            "ObjectType = Image\nNDims = 2\nDimSize = 10 10\nElementType = MET_UCHAR\n"
            f"ElementDataFile = {target}\n"
        )
    scan = open_studies([inside])
    assert outcomes(scan) == {"a.mhd": "refused", "b.mhd": "refused"}
    assert all("not in one file in the same folder" in reason for reason in reasons(scan).values())


NRRD = (
    "NRRD0004\ntype: short\ndimension: 3\nsizes: 6 7 5\nencoding: raw\nendian: little\n"
    "space: left-posterior-superior\nspace origin: (0,0,0)\n"
    "space directions: (1,0,0) (0,1,0) (0,0,1)\n"
)
META = "ObjectType = Image\nNDims = 3\nDimSize = 6 7 5\nElementType = MET_SHORT\n"


class TestFlippedBits:
    """One bit of a compressed stream, anywhere: it is told when the voxels are decoded."""

    @pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.nhdr", "a.mha"])
    def test_are_told_with_the_name_of_the_file(self, tmp_path: Path, name: str) -> None:
        if name == "a.nii.gz":
            save_nifti(tmp_path / name, volume((20, 20, 10)))
        else:
            image = sitk.GetImageFromArray(volume((20, 20, 10)))
            sitk.WriteImage(image, str(tmp_path / name), True)
        voxels = tmp_path / ("a.raw.gz" if name == "a.nhdr" else name)
        whole = voxels.read_bytes()
        start = 400 if name != "a.nhdr" else 20
        for part in range(6):
            data = bytearray(whole)
            data[start + (len(data) - start - 20) * part // 6] ^= 1 << part
            voxels.write_bytes(data)
            assert [*outcomes(open_studies([tmp_path / name])).values()] == ["read"]
            (_, pixels), *_ = read_pixels(open_studies([tmp_path / name]).slices)
            assert isinstance(pixels, DecodeError)
            assert str(pixels).startswith(f"{tmp_path / name}: it is truncated or damaged: ")

    @pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr"])
    def test_a_truncated_stream_is_noticed_by_the_scan(self, tmp_path: Path, name: str) -> None:
        sitk.WriteImage(sitk.GetImageFromArray(volume()), str(tmp_path / name), True)
        voxels = tmp_path / ("a.raw.gz" if name == "a.nhdr" else name)
        voxels.write_bytes(voxels.read_bytes()[:-30])
        assert reasons(open_studies([tmp_path]))[name].startswith("it is truncated: ")


class TestHeadersOfText:
    @pytest.mark.parametrize("name", ["a.nrrd", "a.mha", "a.mhd", "a.nhdr"])
    @pytest.mark.parametrize("lost", [1, 100])
    def test_lost_voxels_are_noticed(self, tmp_path: Path, name: str, lost: int) -> None:
        sitk.WriteImage(sitk.GetImageFromArray(volume()), str(tmp_path / name))
        voxels = tmp_path / (name if len(list(tmp_path.iterdir())) == 1 else "a.raw")
        data = voxels.read_bytes()
        voxels.write_bytes(data[:-lost])
        reason = reasons(open_studies([tmp_path]))[name]
        have, need = len(data) - lost, len(data)
        assert reason == f"it is truncated: only {have} of {need} bytes are present"

    def test_lost_bytes_of_compressed_voxels_are_noticed(self, tmp_path: Path) -> None:
        sitk.WriteImage(sitk.GetImageFromArray(volume()), str(tmp_path / "a.mha"), True)
        data = (tmp_path / "a.mha").read_bytes()
        (tmp_path / "a.mha").write_bytes(data[:-1])
        assert reasons(open_studies([tmp_path]))["a.mha"].startswith("it is truncated")

    @pytest.mark.parametrize("name", ["a.mha", "a.mhd", "a.nrrd"])
    def test_damaged_voxels_are_not_taken_for_zeros(self, tmp_path: Path, name: str) -> None:
        for folder, outcome in (("whole", "read"), ("damaged", "refused")):
            (tmp_path / folder).mkdir()
            image = sitk.GetImageFromArray(volume().T)
            sitk.WriteImage(image, str(tmp_path / folder / name), True)
            voxels = tmp_path / folder / ("a.zraw" if name == "a.mhd" else name)
            data = voxels.read_bytes()
            if folder == "damaged":
                voxels.write_bytes(data[:-200] + b"?" * 100 + data[-100:])
            scan = open_studies([tmp_path / folder])
            assert outcomes(verify_pixels(scan))[name] == outcome
            if folder == "whole":
                stored = scan.studies[0].series[0].slices[2].pixels().stored
                np.testing.assert_array_equal(stored, volume()[..., 2].T)

    def test_compressed_voxels_of_unknown_size_are_refused(self, tmp_path: Path) -> None:
        sitk.WriteImage(sitk.GetImageFromArray(volume()), str(tmp_path / "a.mha"), True)
        data = (tmp_path / "a.mha").read_bytes()
        (tmp_path / "a.mha").write_bytes(data.replace(b"CompressedDataSize", b"AnotherSize"))
        assert "no CompressedDataSize" in reasons(open_studies([tmp_path]))["a.mha"]

    def test_a_failed_decode_of_meta_image_has_a_reason(self, tmp_path: Path) -> None:
        sitk.WriteImage(sitk.GetImageFromArray(volume()), str(tmp_path / "a.mha"))
        scan = open_studies([tmp_path])
        (tmp_path / "a.mha").write_bytes((tmp_path / "a.mha").read_bytes()[:-1])
        assert reasons(verify_pixels(scan)) == {
            "a.mha": "its voxels cannot be read: they are damaged or do not match the header"
        }

    @pytest.mark.parametrize(
        ("name", "header"),
        [
            ("long.nrrd", NRRD + "# " + "x" * 9000 + "\ndata file: ../secret\n"),
            ("twice.nrrd", NRRD + "data file: ../secret\ndata file: a.raw\n"),
            ("key.nrrd", NRRD + "data file: ../secret\ndata file:a.raw:=x\n"),
            ("returns.nrrd", NRRD.replace("\n", "\r") + "data file: ../secret\r"),
            ("long.mhd", META + f"Comment = {'x' * 400}\n" * 30 + "ElementDataFile = ../secret\n"),
            ("colon.mhd", META + "ElementDataFile : ../secret\n"),
            (
                "within.mhd",
                META + "Name = x\rElementDataFile = a.raw\nElementDataFile = ../secret\n",
            ),
            ("small.mhd", META + "elementdatafile = a.raw\nElementDataFile = ../secret\n"),
            ("endless.nrrd", NRRD + ("#" + "x" * 99 + "\n") * 11000 + "data file: ../secret\n"),
        ],
    )
    def test_no_header_reaches_another_folder(self, tmp_path: Path, name: str, header: str) -> None:
        (tmp_path / "secret").write_bytes(volume().tobytes())
        (tmp_path / "inside").mkdir()
        (tmp_path / "inside" / "a.raw").write_bytes(volume().tobytes())
        (tmp_path / "inside" / name).write_bytes(header.encode())
        scan = open_studies([tmp_path / "inside" / name])
        assert outcomes(scan) == {name: "refused"}
        says = {
            "twice.nrrd": "its header names the file of its voxels twice",
            "within.mhd": "its header names ElementDataFile within another field",
            "endless.nrrd": "its header is longer than 1 MiB",
        }
        beside = "its voxels are not in one file in the same folder; save the volume as one file"
        assert reasons(scan)[name] == says.get(name, beside)

    @pytest.mark.parametrize(
        ("header", "target"),
        [
            (NRRD + "data file: a=b.raw\n", "a=b.raw"),
            (NRRD + "data file: ab:c.raw\n", "ab:c.raw"),
            (NRRD + "key:=data file: x\ndata file: a.raw\n", "a.raw"),
            (META + "ElementDataFile = a=b.raw\n", "a=b.raw"),
            (META + "ElementDataFile = ab:c.raw\n", "ab:c.raw"),
            (META + "HeaderSize = -1\nElementDataFile = a.raw\r\n", "a.raw"),
        ],
    )
    def test_a_file_beside_is_found_by_its_name(
        self, tmp_path: Path, header: str, target: str
    ) -> None:
        (tmp_path / target).write_bytes(volume().tobytes(order="F"))
        (tmp_path / "header").write_bytes(header.encode())
        scan = open_studies([tmp_path])
        assert outcomes(scan) == {"header": "read", target: "read"}
        for index, item in enumerate(scan.slices):
            np.testing.assert_array_equal(item.pixels().stored, volume()[..., index].T)

    def test_voxels_after_a_stated_number_of_bytes(self, tmp_path: Path) -> None:
        voxels = volume().tobytes(order="F")
        local = f"{META}HeaderSize = 200\nElementDataFile = LOCAL\n".encode().ljust(200)
        (tmp_path / "a.mha").write_bytes(local + voxels)
        (tmp_path / "a.nrrd").write_bytes(f"{NRRD}byte skip: 4\n\n1234".encode() + voxels)
        scan = open_studies([tmp_path])
        assert set(outcomes(scan).values()) == {"read"}
        for name in ("a.mha", "a.nrrd"):
            items = [item for item in scan.slices if item.source.path.name == name]
            np.testing.assert_array_equal(items[0].pixels().stored, volume()[..., 0].T)


@pytest.mark.parametrize("size", ["1e200", "1e5", "1e-5"])
def test_absurd_voxel_sizes_are_refused(tmp_path: Path, size: str) -> None:
    header, _ = NRRD.split("space:")
    header += f"spacings: 1 {size} 1\n\n"
    (tmp_path / "a.nrrd").write_bytes(header.encode() + volume().tobytes())
    assert (
        "its pixel size in millimetres is impossible" in reasons(open_studies([tmp_path]))["a.nrrd"]
    )


@pytest.mark.parametrize(
    ("first", "size", "reason"),
    [
        (-2e6, 4, "its position is over a kilometre from the origin"),
        (0.99e6, 9000, "its position is over a kilometre from the origin"),
        (np.nan, 4, "its header gives no usable voxel size or orientation"),
    ],
)
def test_absurd_positions_are_refused(
    tmp_path: Path, first: float, size: float, reason: str
) -> None:
    affine = np.diag([1.0, 1, size, 1])
    affine[2, 3] = first
    save_nifti(tmp_path / "a.nii", volume(), affine)
    assert reasons(open_studies([tmp_path]))["a.nii"].startswith(reason)


def test_pixels_come_in_order_from_several_workers(tmp_path: Path) -> None:
    for i in range(4):
        save_nifti(tmp_path / f"{i}.nii.gz", volume() + i)
    slices = list(open_studies([tmp_path]).slices)
    for workers in (1, 3):
        found = list(read_pixels(slices, workers))
        assert [item for item, _ in found] == slices
        for item, pixels in found:
            assert not isinstance(pixels, DecodeError)
            np.testing.assert_array_equal(pixels.stored, item.pixels().stored)
