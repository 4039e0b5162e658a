"""``medvae demo`` as its users see it, and its page as a browser shows it."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pydicom import Dataset, dcmread

from audit.browser import browser, needs_chromium
from medvae import inspect_studies
from medvae.demo import SAMPLE, SAMPLE_HEAD, SAMPLE_LABELS
from medvae.manifest import Manifest
from medvae_cli.main import cli

pytestmark = pytest.mark.slow


def medvae_demo(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["demo", *map(str, arguments)])


@pytest.fixture(scope="module")
def out(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a demonstration; beside it is what was shown in a browser."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    program = folder.with_name("browser")
    program.write_text(f'#!/bin/sh\necho "$1" > {folder.with_name("shown")}\n')
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BROWSER", str(program))
        result = medvae_demo("--out", folder, "--model", sample_run, "--open")
    assert result.exit_code == 0, result.output
    folder.with_name("stdout").write_text(result.stdout)
    return folder


def test_says_what_happened(out: Path) -> None:
    read, augmented, dicom, audited, look = out.with_name("stdout").read_text().splitlines()
    assert read == "read: 36 slices of 6 patients"
    assert re.fullmatch(r"augmented: \d+ of 36 draws kept", augmented)
    assert dicom == "written as DICOM: 6 of 6 slices of a head"
    report = json.loads((out / "audit" / "report.json").read_text())
    assert audited == f"audited: {report['verdict']['words']}"
    assert look == f"look at {out / 'index.html'}"


def test_page_shows_a_pair_of_each_patient_and_the_numbers(out: Path) -> None:
    page = (out / "index.html").read_text()
    pairs = page.count("<figcaption>Source: box ")
    lines = Manifest(out / "synthetic").lines
    patients = {line.groups[0] for line in lines if line.kept}
    assert pairs == page.count("<figcaption>Synthetic: box ") == len(patients) > 0
    report = json.loads((out / "audit" / "report.json").read_text())
    for name in ("lesion_survival", "copies", "auc"):
        assert f"<td>{report[name]['value']:.2f} (" in page
    assert str(out) not in page
    assert str(SAMPLE) not in page


def test_the_head_is_written_as_dicom_in_its_own_place(out: Path) -> None:
    sources = {header.InstanceNumber: header for header in map(dcmread, SAMPLE_HEAD.glob("*.dcm"))}
    made = sorted(map(dcmread, (out / "dicom" / "images").rglob("*.dcm")), key=position)
    originals = sorted(sources.values(), key=position)
    assert len(made) == len(originals) == 6
    for source, result in zip(originals, made, strict=True):
        for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows"):
            assert result[name].value == source[name].value
        assert result.SyntheticData == "YES"
        assert result.SOPInstanceUID != source.SOPInstanceUID
        assert (result.pixel_array != source.pixel_array).mean() > 0.2
    page = (out / "index.html").read_text()
    for text in ("6 of 6 slices of a head were written", "MR Image Storage", "0.666667, 0.699988"):
        assert text in page


@needs_chromium
def test_page_in_a_browser(out: Path, tmp_path: Path) -> None:
    with browser(tmp_path) as page:
        page.open((out / "index.html").as_uri())
        urls = [event["request"]["url"] for event in page.told("Network.requestWillBeSent")]
        assert {url.split(":")[0] for url in urls[1:]} == {"data"}
        for method in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
            assert page.told(method) == []
        shown = page.value("[...document.images].map(i => i.naturalWidth > 0 && i.alt > '')")
        assert shown
        assert all(shown)
        links = page.value("[...document.links].map(link => link.getAttribute('href'))")
        assert all((out / link).is_file() for link in links)
        assert page.value("document.documentElement.scrollWidth <= window.innerWidth")


def test_opens_the_page(out: Path) -> None:
    assert out.with_name("shown").read_text().strip() == (out / "index.html").as_uri()


def test_a_folder_in_use(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    result = medvae_demo("--out", tmp_path)
    assert result.exit_code == 2
    assert f"{tmp_path}: is not empty" in result.stderr


def position(dataset: Dataset) -> float:
    return float(dataset.ImagePositionPatient[2])


class TestSampleHead:
    def test_is_read_as_a_volume(self) -> None:
        inspection = inspect_studies([SAMPLE_HEAD], decode=True)
        assert inspection.counts == {"read": 6, "skipped": 1, "refused": 0}
        (study,) = inspection.studies
        (series,) = study.series
        assert not series.flags
        places = [native.geometry.position for native in series.slices if native.geometry.position]
        steps = [math.dist(one, other) for one, other in pairwise(places)]
        assert steps == pytest.approx([4.0] * 5, abs=1e-3)

    @pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy")
    def test_has_all_that_dicom_requires(self, out: Path) -> None:
        files = [*SAMPLE_HEAD.glob("*.dcm"), *(out / "dicom" / "images").rglob("*.dcm")]
        assert len(files) == 12
        for path in files:
            command = ["dciodvfy", "-new", str(path)]
            said = subprocess.run(command, capture_output=True, text=True).stderr
            errors = [line for line in said.splitlines() if line.startswith("Error")]
            # SyntheticData is younger than this version of dciodvfy.
            assert [line for line in errors if "(0008,001c)" not in line] == []


class TestSample:
    def test_is_read_as_a_whole(self) -> None:
        inspection = inspect_studies([SAMPLE], labels=SAMPLE_LABELS, decode=True)
        assert inspection.totals == {"patients": 6, "studies": 6, "series": 6, "slices": 36}
        assert inspection.counts == {"read": 37, "skipped": 1, "refused": 0}
        assert inspection.labels is not None
        assert not inspection.labels.problems
        for native in inspection.slices:
            (finding,) = native.labels or ()
            assert finding.mask is not None
            assert finding.box == finding.mask.box

    def test_says_only_what_is_known(self) -> None:
        for path in SAMPLE.rglob("*.dcm"):
            dataset = dcmread(path)
            assert dataset.Modality == "MR"
            assert dataset.PatientIdentityRemoved == "YES"
            assert not dataset.StudyDate
            assert not dataset.PatientBirthDate
            assert "PixelSpacing" not in dataset
            assert "ImagePositionPatient" not in dataset

    @pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy")
    def test_lacks_nothing_else_that_dicom_requires(self) -> None:
        unknown = {"PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"}
        for folder in SAMPLE.glob("SC-*"):
            command = ["dciodvfy", "-new", str(min(folder.iterdir()))]
            said = subprocess.run(command, capture_output=True, text=True).stderr
            errors = [line for line in said.splitlines() if line.startswith("Error")]
            assert {re.findall(r"</(\w+)\(", line)[0] for line in errors} == unknown

    def test_is_small(self) -> None:
        assert sum(path.stat().st_size for path in SAMPLE.rglob("*")) < 1.1e6
