"""The page of slices: what a reader sees on it, and what must not be in it."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from medvae.contact_sheet import contact_sheet
from medvae.errors import DecodeError
from medvae.geometry import Box, Geometry
from medvae.records import (
    Category,
    Finding,
    Labels,
    Mask,
    Pixels,
    Series,
    Slice,
    Source,
    Study,
    pseudonym,
)

SHAPE = (60, 90)
RECTANGLE = Box(20, 10, 50, 28)


def picture(source: Source) -> Pixels:
    """Dark, with a bright ``RECTANGLE``."""
    stored = np.zeros(SHAPE, dtype=np.int16)
    x0, y0, x1, y1 = RECTANGLE
    stored[y0:y1, x0:x1] = 1000
    return Pixels(stored, stored.astype(np.float32))


def a_slice(index: int = 0, series: str = "1.2.3", labels: Labels | None = None) -> Slice:
    return Slice(
        key=pseudonym("slice", series, str(index)),
        group=pseudonym("patient", "Jane Doe"),
        shape=SHAPE,
        modality="MR",
        geometry=Geometry((0.9, 0.6), (0, 0, -2.5 * index), (-1, 0, 0), (0, 1, 0)),
        source=Source(Path(f"/data/Jane Doe/{index}.dcm"), "dicom", 0, series_uid=series),
        load=picture,
        labels=labels,
    )


def labelled(*names: str, mask: Mask | None = None) -> Labels:
    return Labels(tuple(Finding(Category(name), RECTANGLE, mask) for name in names))


@dataclass
class Page(HTMLParser):
    """What a browser would find."""

    html: str
    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def all(self, name: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.tags if tag == name]

    def text_of(self, name: str) -> list[str]:
        return re.findall(rf"<{name}>(.*?)</{name}>", self.html, re.DOTALL)

    def picture(self) -> NDArray[np.uint8]:
        _, data = self.all("img")[0]["src"].split("data:image/png;base64,")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))

    def box(self) -> Box:
        x, y, width, height = (
            float(self.all("rect")[0][name]) for name in ("x", "y", "width", "height")
        )
        return Box(x, y, x + width, y + height)


def study_of(slices: Iterable[Slice], flags: tuple[str, ...] = ()) -> Study:
    by_uid: dict[str, list[Slice]] = {}
    for item in slices:
        by_uid.setdefault(item.source.series_uid, []).append(item)
    series = tuple(Series(uid, tuple(part), flags) for uid, part in by_uid.items())
    return Study("study", "patient", "PatientID", series)


def page(*slices: Slice, title: str = "Slices", notes: Sequence[str] = (), most: int = 9) -> Page:
    studies = [study_of(slices)] if slices else []
    return Page(contact_sheet(studies, title, notes, most=most))


class TestPictures:
    def test_the_box_is_drawn_where_the_rectangle_is_seen(self) -> None:
        shown = page(a_slice(labels=labelled("glioma")))
        rows, columns = np.nonzero(shown.picture() > 127)
        bright = Box(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert bright.iou(shown.box()) > 0.95

    def test_slices_are_in_standard_orientation_and_physical_proportions(self) -> None:
        bright = page(a_slice()).picture() > 127
        rows, columns = np.nonzero(bright)
        # 30 columns of 0.6 mm and 18 rows of 0.9 mm, of 90 columns and 60 rows of the same size.
        assert np.ptp(rows) / np.ptp(columns) == pytest.approx(16.2 / 18, abs=0.03)
        # Columns run to the patient's right in the file, so they are reversed.
        assert columns.mean() > bright.shape[1] / 2

    @pytest.mark.parametrize(
        ("modality", "window", "grey"),
        [
            ("CT", (500.0, 2000.0), 191),
            ("CT", None, 255),
            ("CT", (500.0, 0.0), 255),
            ("MR", (500.0, 2000.0), 255),
        ],
    )
    def test_ct_is_shown_in_the_window_of_its_file(
        self, modality: str, window: tuple[float, float] | None, grey: int
    ) -> None:
        shown = page(replace(a_slice(), modality=modality, window=window))
        assert shown.picture().max() == grey

    def test_the_outline_surrounds_the_mask(self) -> None:
        full = np.zeros(SHAPE, dtype=np.bool_)
        full[10:28, 20:50] = True
        full[12:20, 30:40] = False
        mask = Mask.of(full)
        shown = page(a_slice(labels=labelled("glioma", mask=mask)))
        outline = next(a["d"] for a in shown.all("path") if a["d"].count("M") > 4)
        x0, y0, x1, y1 = shown.box()
        edges = [tuple(map(int, m)) for m in re.findall(r"M(\d+) (\d+)h(\d+)", outline)]
        assert min(x for x, _, _ in edges) == pytest.approx(x0, abs=1)
        assert max(x + length for x, _, length in edges) == pytest.approx(x1, abs=1)
        assert min(y for _, y, _ in edges) == pytest.approx(y0, abs=1)
        assert max(y for _, y, _ in edges) == pytest.approx(y1, abs=1)
        assert sum(length for _, _, length in edges) == pytest.approx(2 * (x1 - x0) * 4 / 3, abs=6)

    def test_each_category_has_its_colour_and_the_legend_says_which(self) -> None:
        shown = page(a_slice(labels=labelled("glioma", "cyst", "glioma")))
        one, two, three = (a["stroke"] for a in shown.all("g"))
        assert one == three != two
        assert [a["fill"] for a in shown.all("path")] == [one, two]
        assert "glioma (2)" in shown.html
        assert "cyst (1)" in shown.html


class TestWords:
    def test_each_picture_has_an_alternative_text(self) -> None:
        shown = page(*(a_slice(i, labels=labelled("glioma")) for i in range(3)))
        key = a_slice().key
        assert len(shown.all("img")) == 3
        assert shown.all("img")[0]["alt"] == f"MR slice {key[:8]}: 1 finding: glioma"
        assert len({a["alt"] for a in shown.all("img")}) == 3

    @pytest.mark.parametrize(
        ("labels", "said"),
        [
            (None, "Not labelled"),
            (Labels(), "No findings"),
            (labelled("glioma"), "1 finding: glioma"),
            (labelled("glioma", "cyst", "glioma"), "3 findings: glioma (2), cyst"),
        ],
    )
    def test_unknown_and_empty_are_told_apart(self, labels: Labels | None, said: str) -> None:
        assert page(a_slice(labels=labels)).text_of("strong") == [said]

    def test_the_caption_describes_the_slice(self) -> None:
        html = page(a_slice(2)).html
        assert "no. 1, MR, 60 x 90 pixels, 0.9 x 0.6 mm, at 5.0 mm".replace(" x ", TIMES) in html
        assert "spacing unknown" in page(replace(a_slice(), geometry=Geometry())).html

    def test_slices_stand_with_their_series(self) -> None:
        slices = (a_slice(i, series) for i in range(2) for series in ("1.2", "1.3", "1.4"))
        shown = page(*slices)
        assert [h["id"] for h in shown.all("h2")] == ["series-1", "series-2", "series-3"]
        links = [a["href"] for a in shown.all("a") if a["href"].startswith("#series")]
        assert links == ["#series-1", "#series-2", "#series-3"]
        assert "1 patient, 3 series, 6 slices, 0 findings, 6 not labelled" in shown.html

    def test_every_link_leads_somewhere(self) -> None:
        shown = page(a_slice(0, "1.2"), a_slice(1, "1.2"), a_slice(0, "1.3"))
        targets = [attributes["id"] for _, attributes in shown.tags if "id" in attributes]
        assert len(targets) == len(set(targets))
        assert {a["href"].removeprefix("#") for a in shown.all("a")} == set(targets)

    def test_no_slices_make_a_page_too(self) -> None:
        shown = page(title="Nothing", notes=["All files were refused."])
        assert shown.text_of("h1") == ["Nothing"]
        assert "All files were refused." in shown.html


TIMES = " \N{MULTIPLICATION SIGN} "
HOSTILE = "\"><script>alert('x')</script><img src=http://example.org/x.png>\ud800\n"


class TestSafety:
    def test_text_from_files_stays_text(self) -> None:
        native = replace(a_slice(labels=labelled(HOSTILE)), modality=HOSTILE, group=HOSTILE)
        shown = page(native, title=HOSTILE, notes=[HOSTILE])
        assert not shown.all("script")
        assert len(shown.all("img")) == 1
        assert "<script>alert" in shown.all("img")[0]["alt"]
        shown.html.encode()

    def test_nothing_is_loaded_and_nothing_runs(self) -> None:
        shown = page(a_slice(labels=labelled("glioma")), a_slice(1))
        assert "http:" not in shown.html
        assert "https:" not in shown.html
        assert "url(" not in shown.html
        assert not {"script", "link", "iframe", "object"} & {t for t, _ in shown.tags}
        for _, attributes in shown.tags:
            assert attributes.get("src", "data:").startswith("data:")
            assert attributes.get("href", "#").startswith("#")
            assert "style" not in attributes
            assert not any(name.startswith("on") for name in attributes)

    def test_the_policy_of_the_page_allows_its_own_style(self) -> None:
        shown = page(a_slice())
        (policy,) = (m["content"] for m in shown.all("meta") if "http-equiv" in m)
        (style,) = shown.text_of("style")
        checksum = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert policy == f"default-src 'none'; img-src data:; style-src 'sha256-{checksum}'"

    def test_no_path_patient_or_identifier_is_in_it(self) -> None:
        html = page(a_slice(labels=labelled("glioma"), series="1.2.840.99")).html
        for secret in ("Jane", "/data", ".dcm", "1.2.840.99"):
            assert secret not in html


class TestChoice:
    def shown(self, *slices: Slice, most: int) -> list[str]:
        return re.findall(r"no\. (\d+),", page(*slices, most=most).html)

    def test_of_many_slices_some_are_shown_evenly(self) -> None:
        slices = [a_slice(i) for i in range(20)]
        assert self.shown(*slices, most=4) == ["3", "8", "13", "18"]
        assert "20 slices (4 of them shown)" in page(*slices, most=4).html

    def test_slices_with_findings_come_first(self) -> None:
        slices = [a_slice(i, labels=labelled("cyst") if i in (6, 7) else None) for i in range(20)]
        assert self.shown(*slices, most=4) == ["5", "7", "8", "16"]
        assert self.shown(*slices, most=1) == ["8"]

    def test_flags_of_the_series_are_told(self) -> None:
        html = contact_sheet([study_of([a_slice()], ("tilt: <15> degrees",))], "Slices")
        assert "<li>tilt: &lt;15&gt; degrees</li>" in html


def test_a_slice_that_cannot_be_decoded_is_told() -> None:
    def broken(source: Source) -> Pixels:
        raise DecodeError(f"{source.path}: broken")

    shown = page(a_slice(0), replace(a_slice(1), load=broken))
    assert len(shown.all("img")) == 1
    assert "Cannot be decoded" in shown.html
    assert "/data" not in shown.html


def test_pixels_are_let_go_as_it_goes() -> None:
    alive: list[weakref.ref[Pixels]] = []
    most = 0

    def load(source: Source) -> Pixels:
        nonlocal most
        most = max(most, sum(reference() is not None for reference in alive))
        pixels = picture(source)
        alive.append(weakref.ref(pixels))
        return pixels

    study = study_of(replace(a_slice(index), load=load) for index in range(120))
    told: list[tuple[str, int, int, str]] = []
    contact_sheet([study], "Many", most=120, workers=1, progress=lambda *stage: told.append(stage))
    assert most <= 32
    assert told == [("Drawing slices", i, 120, "") for i in range(1, 121)]
