"""The page of a report in a browser: it is whole, asks for nothing, and says what the JSON says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from browser import Page, browser, needs_chromium

from medvae.auditing import STATISTICS, Audit
from medvae.auditing._page import at, formatted

pytestmark = [pytest.mark.slow, needs_chromium]


@pytest.fixture(scope="module")
def page(audited: Audit, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        opened.open(audited.page.as_uri())
        yield opened


def test_no_error_and_no_request(page: Page, audited: Audit) -> None:
    urls = [event["request"]["url"] for event in page.told("Network.requestWillBeSent")]
    assert urls[0] == audited.page.as_uri()
    assert {url.split(":")[0] for url in urls[1:]} == {"data"}
    for method in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
        assert page.told(method) == []


def test_every_figure_is_there_and_described(page: Page) -> None:
    images = page.value(
        "[...document.images].map(i => [i.complete, i.naturalWidth, i.alt, i.clientWidth])"
    )
    assert len(images) == 36
    for complete, width, alternative, shown in images:
        assert complete
        assert width > 0
        assert shown > 0
        assert alternative
    titles = page.value("[...document.querySelectorAll('h2')].map(h => h.textContent)")
    assert len(titles) == 3 + len(STATISTICS)
    links = page.value(
        "[...document.querySelectorAll('nav a')].map(a => document.querySelector(a.hash).id)"
    )
    assert len(links) == 2 + len(STATISTICS)


def test_numbers_are_those_of_the_json(page: Page, audited: Audit) -> None:
    report = json.loads((audited.page.parent / "report.json").read_text())
    cells = page.value(
        "[...document.querySelectorAll('[data-report]')]"
        ".map(cell => [cell.dataset.report, cell.textContent])"
    )
    shown = dict(cells)
    assert {"auc", "lesion_survival", "copies", "auc.baseline"} <= shown.keys()
    for path, text in cells:
        assert text == formatted(at(report, path)), path
    assert report["verdict"]["words"] in page.value("document.body.textContent")


def test_fits_a_narrow_screen(page: Page) -> None:
    assert page.value("document.documentElement.scrollWidth <= innerWidth")
