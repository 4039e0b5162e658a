import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from made_studies import a_slice, a_study, all_labels, labels_of, masked, pictures, said
from PIL import Image

from medvae.labels import attach_labels
from medvae.records import Category, Labels

SHAPE = (20, 30)


def saved(path: Path, values: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **options)
    return path


def squares() -> np.ndarray:
    values = np.zeros(SHAPE, dtype=np.uint8)
    values[2:5, 3:7] = 1
    values[5, 7] = 1  # touches the first at a corner: one piece
    values[12:15, 3:7] = 1
    values[10:12, 20:29] = 255
    return values


def expected(values: np.ndarray) -> Labels:
    one = values == 1
    upper, lower = one.copy(), one.copy()
    upper[8:], lower[:8] = False, False
    return Labels(
        (
            masked(upper, Category("label_1")),
            masked(lower, Category("label_1")),
            masked(values == 255, Category("label_255")),
        )
    )


def test_pieces_become_findings_and_an_empty_mask_a_negative(tmp_path: Path) -> None:
    values = squares()
    saved(tmp_path / "masks/p1/1.png", values)
    saved(tmp_path / "masks/p2/1.png", values * 0)
    study = pictures(tmp_path / "images", ["p1/1.png", "p2/1.png", "p2/2.png"])
    labelled = attach_labels([study], tmp_path / "masks")
    assert labelled.format == "mask pictures"
    assert labelled.problems == ()
    assert all_labels(labelled) == [expected(values), Labels(), None]
    assert labelled.files == (tmp_path / "masks/p1/1.png", tmp_path / "masks/p2/1.png")


@pytest.mark.parametrize("name", ["a_mask.png", "a.png", "a-seg.tif", "a_Label.bmp"])
def test_one_file(tmp_path: Path, name: str) -> None:
    mask = saved(tmp_path / "masks" / name, squares())
    labelled = attach_labels([pictures(tmp_path, ["a.png", "b.png"])], mask)
    assert labels_of(labelled) == {"a.png": expected(squares()), "b.png": None}


@pytest.mark.parametrize("kind", ["8 bits", "1 bit"])
def test_where_zero_is_white_it_is_still_the_background(tmp_path: Path, kind: str) -> None:
    values = squares() if kind == "8 bits" else squares() == 1
    mask = saved(tmp_path / "a_mask.tif", values)
    study = pictures(tmp_path, ["a.png"])
    (black,) = all_labels(attach_labels([study], mask))
    data = bytearray(mask.read_bytes())
    data[data.index(struct.pack("<HHL", 262, 3, 1)) + 8] = 0  # PhotometricInterpretation
    mask.write_bytes(data)
    assert all_labels(attach_labels([study], mask)) == [black]


def test_masks_among_the_pictures_are_known_by_their_names(tmp_path: Path) -> None:
    saved(tmp_path / "a.png", squares())
    saved(tmp_path / "a_mask.png", squares())
    labelled = attach_labels([pictures(tmp_path, ["a.png", "b.png"])], tmp_path)
    assert labels_of(labelled) == {"a.png": expected(squares()), "b.png": None}
    assert labelled.files == (tmp_path / "a_mask.png",)


def test_masks_that_were_opened_as_pictures_too_are_pictures_no_longer(tmp_path: Path) -> None:
    saved(tmp_path / "masks/1.png", squares())
    study = pictures(tmp_path, ["images/1.png", "masks/1.png"])
    labelled = attach_labels([study], tmp_path / "masks")
    assert all_labels(labelled) == [expected(squares())]


@pytest.mark.parametrize("mode", ["L", "P", "I", "F", "RGB", "I;16"])
def test_pictures_of_numbers_in_any_mode(tmp_path: Path, mode: str) -> None:
    values = squares()
    if mode == "I;16":
        picture = Image.fromarray(values.astype(np.uint16))
    elif mode == "P":
        picture = Image.fromarray(values, "L")
        picture.putpalette([0] * 768)
    else:
        picture = Image.fromarray(values).convert(mode)
    picture.save(tmp_path / "a_mask.tif")
    labelled = attach_labels([pictures(tmp_path, ["a.png"])], tmp_path / "a_mask.tif")
    assert said(labelled) == []
    assert labels_of(labelled)["a.png"] == expected(values)


def test_a_mask_of_one_bit(tmp_path: Path) -> None:
    saved(tmp_path / "a_mask.png", squares() > 0)
    labelled = attach_labels([pictures(tmp_path, ["a.png"])], tmp_path / "a_mask.png")
    assert {f.category.name for f in labels_of(labelled)["a.png"]} == {"label_1"}


def test_the_pages_of_a_mask_are_those_of_its_picture(tmp_path: Path) -> None:
    pages = [squares(), squares() * 0, squares()[::-1]]
    images = [Image.fromarray(page) for page in pages]
    images[0].save(tmp_path / "v_mask.tif", save_all=True, append_images=images[1:])
    study = a_study(*(a_slice(tmp_path / "v.tif", frame=n) for n in range(3)))
    found = all_labels(attach_labels([study], tmp_path / "v_mask.tif"))
    assert [len(labels) for labels in found] == [3, 0, 3]
    assert found[0] == expected(squares())


def broken(path: Path) -> None:
    saved(path, np.random.default_rng(0).integers(0, 9, SHAPE).astype(np.uint8))
    path.write_bytes(path.read_bytes()[:90])


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda p: saved(p, squares().T), "is 30x20, but its slice is 20x30; ignored"),
        (
            lambda p: saved(p, np.stack([squares(), squares(), squares() * 2], axis=2)),
            "has pixels in RGB, which hold no label values; ignored",
        ),
        (
            lambda p: saved(p, np.stack([squares()] * 4, axis=2)),
            "has pixels in RGBA, which hold no label values; ignored",
        ),
        (broken, "cannot be read: "),
        (lambda p: p.write_bytes(b"none"), "cannot be read: cannot identify image file"),
    ],
)
def test_a_mask_that_cannot_be_used_is_said(tmp_path: Path, make: object, problem: str) -> None:
    make(tmp_path / "a_mask.png")
    labelled = attach_labels([pictures(tmp_path, ["a.png"])], tmp_path / "a_mask.png")
    (found,) = said(labelled)
    assert found.startswith(f"a_mask.png: {problem}")
    assert labels_of(labelled)["a.png"] is None


def test_an_image_is_no_mask(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (90, 90)).astype(np.uint8)
    saved(tmp_path / "a_mask.png", noise)
    study = a_study(a_slice(tmp_path / "a.png", (90, 90)))
    labelled = attach_labels([study], tmp_path / "a_mask.png")
    assert said(labelled) == [
        "a_mask.png: has over 1000 pieces on a slice, so it is not a mask; ignored"
    ]
    assert labels_of(labelled)["a.png"] is None


def test_fractions_are_no_mask(tmp_path: Path) -> None:
    saved(tmp_path / "a_mask.tif", np.full(SHAPE, 0.5, dtype=np.float32))
    labelled = attach_labels([pictures(tmp_path, ["a.png"])], tmp_path / "a_mask.tif")
    assert "not whole numbers" in said(labelled)[0]


def test_a_mask_of_no_picture_is_said(tmp_path: Path) -> None:
    saved(tmp_path / "masks/z.png", squares())
    labelled = attach_labels([pictures(tmp_path, ["a.png"])], tmp_path / "masks")
    assert said(labelled) == ["z.png: 'z' matches no slice; ignored"]


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(path: Path, lines: np.ndarray, bits: int, colour: int) -> Path:
    """Write a PNG of SHAPE with these bytes as its lines; Pillow writes no such kinds."""
    data = b"".join(b"\0" + line.tobytes() for line in lines)
    header = struct.pack(">IIBBBBB", SHAPE[1], SHAPE[0], bits, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path


def packed(values: np.ndarray, bits: int) -> np.ndarray:
    """The lines of a picture of a few bits, ``[rows, bytes]``."""
    spread = np.unpackbits(values[..., None], axis=2)[..., -bits:]
    return np.packbits(spread.reshape(len(values), -1), axis=1)


def tiff(path: Path, lines: np.ndarray, bits: int, photometric: int, samples: int) -> Path:
    """Write a TIFF of SHAPE with these bytes as its one strip."""
    data, size = lines.tobytes(), 8 + 2 + 9 * 12 + 4
    depth = (258, 3, 1, bits) if samples == 1 else (258, 3, samples, size)
    entries = [
        (256, 3, 1, SHAPE[1]),
        (257, 3, 1, SHAPE[0]),
        depth,
        (259, 3, 1, 1),
        (262, 3, 1, photometric),
        (273, 4, 1, size + 8),
        (277, 3, 1, samples),
        (278, 3, 1, SHAPE[0]),
        (279, 4, 1, len(data)),
    ]
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    path.write_bytes(head + directory + struct.pack("<4H", *[bits] * 4) + data)
    return path


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("kind", ["png", "tif"])
def test_the_numbers_of_a_mask_of_few_bits_are_those_in_the_file(
    tmp_path: Path, bits: int, kind: str
) -> None:
    values = np.zeros(SHAPE, dtype=np.uint8)
    values[2:5, 3:7], values[9:12, 3:7], values[15, 20:] = 1, 2, 2**bits - 1
    mask = tmp_path / f"a_mask.{kind}"
    lines = packed(values, bits)
    png(mask, lines, bits, 0) if kind == "png" else tiff(mask, lines, bits, 1, 1)
    labelled = attach_labels([pictures(tmp_path, ["a.png"])], mask)
    assert said(labelled) == []
    assert labels_of(labelled)["a.png"] == Labels(
        tuple(masked(values == n, Category(f"label_{n}")) for n in (1, 2, 2**bits - 1))
    )


def test_a_palette_of_few_bits_is_read_by_its_numbers(tmp_path: Path) -> None:
    picture = Image.fromarray(squares() % 15, "L")
    picture.putpalette([0, 0, 0, 9, 9, 9])
    picture.save(tmp_path / "a_mask.png", bits=4)
    labelled = attach_labels([pictures(tmp_path, ["a.png"])], tmp_path / "a_mask.png")
    assert {f.category.name for f in labels_of(labelled)["a.png"]} == {"label_1"}


@pytest.mark.parametrize(
    ("kind", "colour", "samples"), [("png", 2, 3), ("png", 4, 2), ("png", 6, 4), ("tif", 2, 3)]
)
def test_colours_of_16_bits_are_refused_rather_than_cut(
    tmp_path: Path, kind: str, colour: int, samples: int
) -> None:
    values = np.repeat(squares()[..., None].astype(np.uint16), samples, axis=2) * 256 + 1
    mask = tmp_path / f"a_mask.{kind}"
    if kind == "png":
        png(mask, values.byteswap().reshape(len(values), -1), 16, colour)
    else:
        tiff(mask, values, 16, colour, samples)
    labelled = attach_labels([pictures(tmp_path, ["a.png"])], mask)
    assert said(labelled) == [
        f"a_mask.{kind}: has 16-bit colours or alpha, which cannot be read exactly; ignored"
    ]
    assert labels_of(labelled)["a.png"] is None
