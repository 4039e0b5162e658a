"""Pages: they load nothing, and escape whatever they are given."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest

from medvae.errors import UsageProblem
from medvae.pages import SlicePicture, check_replaceable, part, render

HOSTILE = "\"><script>alert('x')</script>\ud800"


def page(**context: object) -> str:
    given: dict[str, object] = {"title": "t", "summary": "s", "sections": [], "opening": []}
    return render("sections", **{**given, **context})


def test_everything_is_escaped() -> None:
    shown = SlicePicture("data:,", 8, HOSTILE, ())
    parts = [
        part("paragraph", HOSTILE),
        part("table", HOSTILE, [HOSTILE], [(HOSTILE, HOSTILE)]),
        part("drawing", HOSTILE, HOSTILE, HOSTILE),
        part("strip", [(HOSTILE, shown)], HOSTILE),
    ]
    html = page(title=HOSTILE, summary=HOSTILE, opening=parts)
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 15
    html.encode()


def test_the_style_is_the_one_that_the_policy_allows() -> None:
    html = page()
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in html


def test_a_page_can_be_replaced_and_nothing_else(tmp_path: Path) -> None:
    check_replaceable(tmp_path / "new.html")
    (tmp_path / "page.html").write_text(page())
    check_replaceable(tmp_path / "page.html")
    (tmp_path / "other.html").write_text("<!DOCTYPE html>\n<p>mine</p>\n")
    with pytest.raises(UsageProblem, match="is not a page that medvae wrote"):
        check_replaceable(tmp_path / "other.html")
