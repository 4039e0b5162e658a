"""A statistic is one module and one entry in the registry; everything else follows from them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from medvae.auditing import STATISTICS, AuditSettings, ComparedSets, Estimate, Rule, Statistic
from medvae_cli.main import cli

pytestmark = pytest.mark.slow


BRIGHTNESS = Statistic(
    name="brightness",
    module=__name__,
    title="How bright are the slices?",
    explanation="Mean level of all pixels, from 0 to 1.",
    numbers={"": "Mean level of the synthetic slices"},
    rules=(
        Rule(
            name="Brightness",
            green=0.0,
            amber=0.0,
            decisive=True,
            opening="Do not train with bright slices.",
            advice=("Turn the lights down.",),
        ),
    ),
)


def measure(sets: ComparedSets, settings: AuditSettings) -> Estimate:
    """Average the pictures."""
    real, synthetic = (
        np.array([picture.mean() / 255 for picture in one.pool.pictures])
        for one in (sets.real, sets.synthetic)
    )
    value = float(synthetic.mean())
    return Estimate(value, value / 2, float("inf"), float(real.mean()))


def sentences(found: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield the brightness."""
    if found is not None:
        yield f"Its brightness is {found['value']:.2f}."


@pytest.fixture(scope="module")
def audited(studies: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    out = tmp_path_factory.mktemp("toy") / "report"
    given = ("--real", studies, "--synthetic", studies, "--out", out, "--device", "cpu")
    bounds = ("--fail-if", "brightness>0", "--fail-if", "brightness.low<0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STATISTICS, "brightness", BRIGHTNESS)
        return CliRunner().invoke(cli, ["audit", *map(str, given), *bounds]), out


def test_it_takes_part_in_the_report(audited: tuple[Result, Path]) -> None:
    report = json.loads((audited[1] / "report.json").read_text())
    found = report["brightness"]
    assert 0 < found["low"] < found["value"] == found["baseline"]
    assert found["high"] is None
    page = (audited[1] / "report.html").read_text()
    assert '<section id="brightness"' in page
    assert "How bright are the slices?" in page
    assert '<td data-report="brightness">' in page


def test_it_takes_part_in_the_verdict(audited: tuple[Result, Path]) -> None:
    result, out = audited
    verdict = json.loads((out / "report.json").read_text())["verdict"]
    assert verdict["mark"] == "red"
    assert result.stdout.startswith("red: Do not train with bright slices.")
    assert "Its brightness is 0." in verdict["words"]
    assert "Turn the lights down." in verdict["advice"]
    (row,) = (row for row in verdict["rows"] if row["name"] == "Brightness")
    assert (row["path"], row["mark"], row["decisive"]) == ("brightness", "red", True)


def test_bounds_can_be_set_on_it(audited: tuple[Result, Path]) -> None:
    result, _ = audited
    assert result.exit_code == 1, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: fail-if brightness>0: brightness is 0.")


def test_the_help_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STATISTICS, "brightness", BRIGHTNESS)
    result = CliRunner().invoke(cli, ["audit", "--help"], terminal_width=100)
    assert "Mean level of the synthetic slices" in result.stdout
    for name in STATISTICS:
        assert f"\n  {name}" in result.stdout


def test_without_its_entry_it_is_unknown(studies: Path, tmp_path: Path) -> None:
    given = ("--real", studies, "--synthetic", studies, "--out", tmp_path / "report")
    bound = ("--fail-if", "brightness>0")
    result = CliRunner().invoke(cli, ["audit", *map(str, given), *bound])
    assert result.exit_code == 2
    assert "the report has no 'brightness'; choose from lesion_survival, " in result.stderr
