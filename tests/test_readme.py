"""Every command and every piece of code in the README does what a reader would have it do."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydicom import dcmread

from medvae.augmentation import augment
from medvae.demo import SAMPLE, SAMPLE_LABELS
from medvae_cli.main import cli
from phantoms import AXIAL

pytestmark = pytest.mark.slow

README = Path(__file__).resolve().parents[1] / "README.md"

HEALTHY = "SC-N-07"
"""Of the sample, the patient whose scan stands for one without findings."""

SHORTER = {
    "demo": ["--model", "run"],
    "train": ["--variant", "plain", "--epochs", "1", "--set", "image_size=32"],
}
"""What is added to a command, so that it is done in seconds."""

LEFT_OUT = {"pytest -n auto"}
"""This is a part of it; CI runs the line as it stands."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)


def commands() -> list[str]:
    """Return the commands, without what installs them."""
    lines = "".join(blocks("sh")).replace("\\\n", " ").splitlines()
    parts = (part.strip() for line in lines for part in line.split("&&"))
    return [part for part in parts if not part.startswith("pip install")]


@pytest.fixture(scope="module")
def placeholders(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the README calls ``studies``, ``healthy``, ``run`` and ``synthetic``."""
    folder = tmp_path_factory.mktemp("placeholders")
    labels = json.loads(SAMPLE_LABELS.read_text())
    # Of the reader's own studies it is known where in the patient they lie.
    for number, path in enumerate(sorted(SAMPLE.rglob("*.dcm"))):
        dataset = dcmread(path)
        dataset.PixelSpacing = [1.4, 1.4]
        dataset.ImageOrientationPatient = list(AXIAL)
        dataset.ImagePositionPatient = [0, 0, 8 * number]
        within = "healthy" if path.parent.name == HEALTHY else "studies"
        target = folder / within / path.relative_to(SAMPLE)
        target.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(target)
    kept = [one for one in labels["images"] if not one["file_name"].startswith(HEALTHY)]
    known = {one["id"] for one in kept}
    labels["images"] = kept
    labels["annotations"] = [one for one in labels["annotations"] if one["image_id"] in known]
    (folder / "studies" / "coco.json").write_text(json.dumps(labels))
    shutil.copytree(sample_run, folder / "run")
    augment(
        [folder / "studies"], sample_run, folder / "synthetic", labels=folder / "studies/coco.json"
    )
    return folder


@pytest.fixture
def here(placeholders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, and the working directory."""
    folder = tmp_path / "here"
    shutil.copytree(placeholders, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*:UserWarning")
@pytest.mark.parametrize(
    "command", [one for one in commands() if one not in LEFT_OUT], ids=lambda one: one.split()[1]
)
def test_commands(command: str, here: Path) -> None:
    program, name, *rest = shlex.split(command)
    assert program == "medvae"
    if "--out" in rest:
        shutil.rmtree(here / rest[rest.index("--out") + 1], ignore_errors=True)
    result = CliRunner().invoke(cli, [name, *rest, *SHORTER.get(name, [])])
    assert result.exit_code == 0, result.output
    for option in ("--out", "--pictures"):
        if option in rest:
            assert (here / rest[rest.index(option) + 1]).exists()


@pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader:UserWarning")
@pytest.mark.parametrize("code", blocks("python"))
def test_code(code: str, here: Path) -> None:
    exec(compile(code, str(README), "exec"), {})


def test_what_it_says_of_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"Of the sample it says:\n\n```\n(.*?)```", README.read_text(), re.DOTALL)
    monkeypatch.delenv("MEDVAE_SECRET", raising=False)
    said = CliRunner().invoke(cli, ["inspect", str(SAMPLE), "--labels", str(SAMPLE_LABELS)]).stdout
    there = said.replace(str(SAMPLE), ".../sample").splitlines()
    assert [line for line in block.splitlines() if line not in (*there, "...")] == []


def test_there_are_commands_and_code() -> None:
    names = {one.split()[1] for one in commands() if one.startswith("medvae ")}
    assert {"demo", "inspect", "train", "augment", "audit", "denoise"} <= names
    assert blocks("python")


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README.read_text())
    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []
