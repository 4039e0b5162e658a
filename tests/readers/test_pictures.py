"""PNG, JPEG and TIFF pictures."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from medvae.readers import open_studies
from medvae.records import pseudonym
from phantoms import outcomes, reasons


def gray(dtype: str = "uint8", seed: int = 0) -> NDArray[Any]:
    top = {"uint8": 2**8, "uint16": 2**16, "int32": 2**31, "float32": 1000}[dtype]
    return np.random.default_rng(seed).integers(0, top, (9, 13)).astype(dtype)


def png(bits: int, colour: int, rows: list[bytes]) -> bytes:
    """A PNG as Pillow does not write it; ``rows`` are packed as in the file."""
    samples = {0: 1, 2: 3, 4: 2}[colour]
    columns = len(rows[0]) * 8 // (bits * samples)
    header = struct.pack(">IIBBBBB", columns, len(rows), bits, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def encoded(kind: str, pages: int = 1, **options: Any) -> bytes:
    """A picture of 90 x 130 pixels that does not compress well."""
    noise = np.random.default_rng(0).integers(0, 256, (pages, 90, 130)).astype("u1")
    first, *others = [Image.fromarray(page) for page in noise]
    if others:
        options |= {"save_all": True, "append_images": others}
    buffer = io.BytesIO()
    first.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("a.png", "uint8"),
        ("a.png", "uint16"),
        ("a.tiff", "uint8"),
        ("a.tiff", "uint16"),
        ("a.tiff", "int32"),
        ("a.tiff", "float32"),
    ],
)
def test_values_are_those_stored(tmp_path: Path, name: str, dtype: str) -> None:
    pixels = gray(dtype)
    Image.fromarray(pixels).save(tmp_path / name)
    (item,) = open_studies([tmp_path]).slices
    assert item.shape == (9, 13)
    assert item.modality is None
    np.testing.assert_array_equal(item.pixels().stored, pixels)
    np.testing.assert_array_equal(item.pixels().values, pixels.astype(np.float32))


def test_big_tiff(tmp_path: Path) -> None:
    Image.fromarray(gray("uint16")).save(tmp_path / "a.tiff", big_tiff=True)
    (item,) = open_studies([tmp_path]).slices
    np.testing.assert_array_equal(item.pixels().stored, gray("uint16"))


def test_modality_is_taken_from_the_user(tmp_path: Path) -> None:
    Image.fromarray(gray()).save(tmp_path / "a.jpg")
    (item,) = open_studies([tmp_path], modality="MR").slices
    assert item.modality == "MR"


def test_gray_pictures_in_colour_modes_are_read(tmp_path: Path) -> None:
    picture = Image.fromarray(gray())
    for mode in ("RGB", "RGBA", "P", "LA"):
        picture.convert(mode).save(tmp_path / f"{mode}.png")
    scan = open_studies([tmp_path])
    assert set(outcomes(scan).values()) == {"read"}
    for item in scan.slices:
        np.testing.assert_array_equal(item.pixels().stored, gray())


def test_colour_is_refused(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (9, 13, 3), "u1")
    Image.fromarray(colours).save(tmp_path / "a.png")
    scan = open_studies([tmp_path])
    assert reasons(scan) == {"a.png": "it is a colour image (RGB); only grayscale images are read"}


def test_pages_are_slices_in_order(tmp_path: Path) -> None:
    pages = [gray(seed=i) for i in range(3)]
    first, *others = [Image.fromarray(page) for page in pages]
    first.save(tmp_path / "a.tiff", save_all=True, append_images=others)
    slices = list(open_studies([tmp_path]).slices)
    assert len(slices) == 3
    for item, page in zip(slices, pages, strict=True):
        np.testing.assert_array_equal(item.pixels().stored, page)


def test_a_folder_is_a_series_in_natural_order(tmp_path: Path) -> None:
    for patient in ("p1", "p2"):
        (tmp_path / patient).mkdir()
        for i in (10, 9, 1):
            Image.fromarray(gray(seed=i)).save(tmp_path / patient / f"{i}.png")
    scan = open_studies([tmp_path])
    assert {study.group for study in scan.studies} == {
        pseudonym("patient", "p1"),
        pseudonym("patient", "p2"),
    }
    assert {study.group_from for study in scan.studies} == {"parent folder"}
    for study in scan.studies:
        (series,) = study.series
        assert [item.source.path.name for item in series.slices] == ["1.png", "9.png", "10.png"]
    assert len({item.key for item in scan.slices}) == 6


def test_masks_beside_images_are_skipped(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder / "p1").mkdir(parents=True)
        Image.fromarray(gray()).save(tmp_path / folder / "p1" / "1.png")
    scan = open_studies([tmp_path])
    assert sorted(report.outcome for report in scan.files) == ["read", "skipped"]
    assert len(list(open_studies([tmp_path / "masks"]).slices)) == 1


def test_damaged_pictures_are_refused(tmp_path: Path) -> None:
    Image.fromarray(gray()).convert("RGB").save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[:60])
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 40)
    scan = open_studies([tmp_path])
    assert set(outcomes(scan).values()) == {"refused"}
    assert all(str(tmp_path) not in reason for reason in reasons(scan).values())


@pytest.mark.slow
def test_enormous_pictures_are_refused(tmp_path: Path) -> None:
    Image.new("1", (30000, 30000)).save(tmp_path / "a.png")
    assert "900000000" not in reasons(open_studies([tmp_path]))["a.png"]
    assert "30000x30000 pixels" in reasons(open_studies([tmp_path]))["a.png"]


def test_a_turned_picture_is_flagged(tmp_path: Path) -> None:
    picture = Image.fromarray(gray())
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.jpg", exif=exif)
    ((series,),) = (study.series for study in open_studies([tmp_path]).studies)
    assert series.flags == ("an EXIF tag that rotates the image is ignored",)


@pytest.mark.parametrize(("bits", "colour"), [(16, 2), (16, 4)])
def test_colours_of_16_bits_are_not_cut_to_8(tmp_path: Path, bits: int, colour: int) -> None:
    opaque = {2: (8000, 8000, 8000), 4: (8000, 65535)}[colour]
    rows = [struct.pack(f">{len(opaque)}H", *opaque) * 3] * 2
    (tmp_path / "a.png").write_bytes(png(bits, colour, rows))
    assert reasons(open_studies([tmp_path])) == {
        "a.png": (
            "it has 16 bits per colour, which would be reduced to 8; save it as 16-bit grayscale"
        )
    }


@pytest.mark.parametrize(("bits", "row"), [(1, 0b00011011), (2, 0b00011011), (4, 0x1F)])
def test_few_bits_are_not_spread_over_8(tmp_path: Path, bits: int, row: int) -> None:
    (tmp_path / "a.png").write_bytes(png(bits, 0, [bytes([row])]))
    expected = [row >> shift & 2**bits - 1 for shift in range(8 - bits, -1, -bits)]
    (item,) = open_studies([tmp_path]).slices
    assert item.pixels().stored.tolist() == [expected]
    assert item.pixels().stored.dtype == np.uint8


@pytest.mark.parametrize(("dtype", "bits"), [("uint8", 8), ("uint16", 16), ("bool", 1)])
def test_where_zero_is_white_values_are_those_stored(tmp_path: Path, dtype: str, bits: int) -> None:
    stored = gray("uint16" if bits == 16 else "uint8")
    image = Image.fromarray(stored > 100 if bits == 1 else stored)
    image.save(tmp_path / "black.tif")
    (black,) = ((item.inverted, item.pixels().stored) for item in open_studies([tmp_path]).slices)
    data = bytearray((tmp_path / "black.tif").read_bytes())
    at = data.index(struct.pack("<HHL", 262, 3, 1)) + 8
    data[at] = 0  # PhotometricInterpretation: WhiteIsZero
    (tmp_path / "black.tif").unlink()
    (tmp_path / "white.tif").write_bytes(data)
    (item,) = open_studies([tmp_path]).slices
    assert (black[0], item.inverted) == (False, True)
    np.testing.assert_array_equal(item.pixels().stored, black[1])


class TestTruncated:
    @pytest.mark.parametrize("lost", [1, 2, 12, 300, 5000])
    @pytest.mark.parametrize(
        ("kind", "options"),
        [
            ("PNG", {}),
            ("JPEG", {}),
            ("JPEG", {"progressive": True}),
            ("TIFF", {}),
            ("TIFF", {"compression": "tiff_lzw"}),
            ("TIFF", {"compression": "tiff_deflate"}),
            ("TIFF", {"compression": "jpeg"}),
            ("TIFF", {"pages": 3}),
        ],
    )
    def test_the_end_is_missing(
        self, tmp_path: Path, kind: str, options: dict[str, Any], lost: int
    ) -> None:
        data = encoded(kind, **options)
        (tmp_path / "whole").write_bytes(data)
        # After its last page Pillow pads a file of several.
        (tmp_path / "cut").write_bytes(data[: -lost - 16 * (options.get("pages", 1) > 1)])
        scan = open_studies([tmp_path])
        assert outcomes(scan) == {"whole": "read", "cut": "refused"}
        assert reasons(scan)["cut"].startswith("it is truncated")

    def test_a_strip_beyond_the_end(self, tmp_path: Path) -> None:
        # The directory is before the strips, and the decoder of Pillow is not asked.
        data = bytearray(encoded("TIFF", compression="tiff_lzw"))
        start = struct.unpack_from("<I", data, 4)[0]
        for entry in range(struct.unpack_from("<H", data, start)[0]):
            at = start + 2 + 12 * entry
            if struct.unpack_from("<H", data, at)[0] == 279:
                struct.pack_into("<HI", data, at + 2, 4, 1)
                struct.pack_into("<I", data, at + 8, len(data))
        (tmp_path / "a.tif").write_bytes(data)
        assert reasons(open_studies([tmp_path])) == {
            "a.tif": "it is truncated: not all of its pixels are in the file"
        }

    def test_the_end_of_a_thumbnail_is_not_that_of_the_picture(self, tmp_path: Path) -> None:
        data = encoded("JPEG", exif=b"Exif\0\0" + encoded("JPEG", quality=1))
        (tmp_path / "a.jpg").write_bytes(data[:-2])
        scan = open_studies([tmp_path])
        assert reasons(scan) == {"a.jpg": "it is truncated: the end of the file is missing"}

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
    @pytest.mark.parametrize("more", [b"\0" * 9000, b" \r\n", b"trailer" * 2000])
    def test_what_follows_the_end_does_not_matter(
        self, tmp_path: Path, kind: str, more: bytes
    ) -> None:
        (tmp_path / "a").write_bytes(encoded(kind) + more)
        assert outcomes(open_studies([tmp_path])) == {"a": "read"}

    def test_a_last_strip_announced_too_long_is_read(self, tmp_path: Path) -> None:
        data = bytearray(encoded("TIFF"))
        at = data.index(struct.pack("<HHII", 279, 4, 1, 90 * 130))
        struct.pack_into("<I", data, at + 8, 90 * 130 + 500)
        (tmp_path / "a.tif").write_bytes(data)
        (item,) = open_studies([tmp_path]).slices
        assert item.pixels().stored.shape == (90, 130)
