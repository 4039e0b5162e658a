"""Files that were written with one ``MEDVAE_SECRET`` and are read with another."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from medvae.augmentation import augment
from medvae.errors import UsageProblem
from medvae.readers import open_studies
from medvae.split import make_split, read_held_out, read_split, write_split
from medvae.transforms import TransplantBank
from medvae_cli.main import cli

SECRETS = pytest.mark.parametrize(
    ("then", "now", "said"),
    [
        (None, "tonight", "was written without MEDVAE_SECRET or with another one"),
        ("tonight", None, "was written with a MEDVAE_SECRET, which is not set now"),
        ("tonight", "tomorrow", "was written without MEDVAE_SECRET or with another one"),
    ],
)


@pytest.fixture(scope="module")
def bank(studies: Path, run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("banks") / "bank"
    TransplantBank.build(folder, [studies], labels=studies / "coco.json", model=run)
    return folder


def use(monkeypatch: pytest.MonkeyPatch, secret: str | None) -> None:
    if secret is None:
        monkeypatch.delenv("MEDVAE_SECRET", raising=False)
    else:
        monkeypatch.setenv("MEDVAE_SECRET", secret)


@SECRETS
def test_an_augmentation(
    studies: Path,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    then: str | None,
    now: str | None,
    said: str,
) -> None:
    out, labels = tmp_path / "out", studies / "coco.json"
    use(monkeypatch, then)
    augment([studies], run, out, labels=labels, render="warp", strength=0.0)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert not then or all(then.encode() not in data for data in before.values())
    use(monkeypatch, now)
    again = ["--model", run, "--out", out, "--render", "warp", "--strength", 0, "--resume"]
    compare = ["--synthetic", out, "--out", tmp_path / "report"]
    for command in (
        ["augment", studies, "--labels", labels, *again],
        ["audit", "--real", studies, "--labels", labels, *compare],
    ):
        result = CliRunner().invoke(cli, list(map(str, command)))
        assert result.exit_code == 2, result.output
        assert f"Error: {out}: {said}" in result.stderr
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert not (tmp_path / "report").exists()
    use(monkeypatch, then)
    augment([studies], run, out, labels=labels, render="warp", strength=0.0, resume=True)


@SECRETS
def test_a_split(
    studies: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    then: str | None,
    now: str | None,
    said: str,
) -> None:
    path = tmp_path / "split.json"
    use(monkeypatch, then)
    split = make_split(open_studies([studies]).slices, 0.25, seed=0)
    write_split(path, split)
    use(monkeypatch, now)
    slices = list(open_studies([studies]).slices)
    with pytest.raises(UsageProblem, match=said):
        read_split(path, slices)
    with pytest.raises(UsageProblem, match=said):
        read_held_out(path)


def test_a_bank(bank: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "tonight")
    with pytest.raises(UsageProblem, match=f"{bank}: was written without MEDVAE_SECRET"):
        TransplantBank.open(bank)


@pytest.mark.slow
def test_older_files_say_nothing_and_are_read(
    studies: Path, run: Path, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    augment([studies], run, out, render="warp", strength=0.0)
    forget(out / "run.json")
    augment([studies], run, out, render="warp", strength=0.0, resume=True)
    shutil.copytree(bank, tmp_path / "bank")
    forget(tmp_path / "bank" / "bank.json")
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"training": ["a"], "validation": ["b"]}))
    use(monkeypatch, "tonight")
    assert len(TransplantBank.open(tmp_path / "bank"))
    assert read_held_out(path) == {"b"}


def forget(path: Path) -> None:
    said = json.loads(path.read_text())
    del said["secret"]
    path.write_text(json.dumps(said))
