"""A render and a gate of one's own, each registered in one line and used from the command line."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from click.testing import CliRunner
from made import lines_of
from PIL import Image
from torch import Tensor

from medvae.gates import GATES, Draft, Gate, Limit, RealSlice, Retry, Verdict
from medvae.render import RENDERS, Render, Rendered, Scene
from medvae_cli.main import cli


class Mirror(Render):
    """A render that mirrors a slice from top to bottom, and brightens it by the decoded change."""

    name = "mirror"
    preserves_locations = False

    def render(self, scenes: Sequence[Scene], before: Tensor, after: Tensor) -> list[Rendered]:
        """Mirror slices without findings."""
        change = float((after - before).mean())
        return [
            Rendered(scene.values[::-1] + change, scene.labels, {"change": change})
            for scene in scenes
        ]


class LevelGate(Gate):
    """A gate on the mean level of a slice, which must be one that real slices have."""

    name = "level"
    limits: ClassVar[Mapping[str, Limit]] = {"brightest": Limit(1.0, 100), "darkest": Limit(0.0)}

    @classmethod
    def observe(cls, real: RealSlice) -> Iterator[tuple[str, float]]:
        """Yield the level of a real slice; one is enough for the test."""
        yield from [("brightest", float(real.picture.mean()))] * 40

    def judge(self, draft: Draft) -> Iterator[Verdict]:
        """Judge the level of a draft."""
        limits = self.reference.limits
        level = float(draft.picture.mean())
        yield Verdict(self.name, "mean", level, limits["darkest"], limits["brightest"] / 2)

    def retry(self, draft: Draft) -> Retry:
        """Ask for a stronger change."""
        return Retry.STRONGER


def augment(studies: Path, run: Path, out: Path, *options: str) -> tuple[int, str]:
    """Augment slices by a command; return the exit code and what is printed."""
    command = ["augment", str(studies), "--model", str(run), "--out", str(out), "--workers", "2"]
    result = CliRunner().invoke(cli, [*command, *options], terminal_width=200)
    return result.exit_code, result.output


def test_a_render_of_ones_own(
    studies: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RENDERS, Mirror.name, Mirror)
    code, output = augment(studies / "p2", run, tmp_path / "out", "--render", "mirror")
    assert code == 0, output
    assert "render: mirror" in output
    kept = [line for line in lines_of(tmp_path / "out") if line["outcome"] == "kept"]
    assert kept
    for line in kept:
        assert line["render"] == "mirror"
        assert line["numbers"].keys() == {"change"}
        rows = np.asarray(Image.open(tmp_path / "out" / line["files"][0])).mean(axis=1)
        assert rows.std() > 0
    code, output = augment(studies / "p2", run, tmp_path / "other", "--render", "warp+mirror+melt")
    assert code == 2
    message = " ".join(output.split())
    assert re.search(
        r"--render: unknown render 'melt'; choose from auto, .*warp, .*mirror", message
    )


def test_a_gate_of_ones_own(
    studies: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GATES, LevelGate.name, LevelGate)
    monkeypatch.delitem(GATES, "copy")  # the model of the tests changes slices too little
    code, output = augment(studies, run, tmp_path / "out", "--render", "warp")
    assert code == 1
    assert "no slice was kept" in output
    lines = lines_of(tmp_path / "out")
    reasons = Counter(line["reason"] for line in lines)
    assert reasons["level: mean too high"] > len(lines) / 2
    assert all("level mean" in line["gates"] for line in lines)
    # A slice is redrawn more strongly until it has been attempted four times.
    level = [line for line in lines if line["reason"] == "level: mean too high"]
    assert max(line["strength"] for line in level) == pytest.approx(0.5 / 0.7**3, rel=1e-4)
    limits = json.loads((tmp_path / "out" / "gates.json").read_text())
    assert limits["measured"]["brightest"] == 16 * 40
    assert 0 < limits["brightest"] < 1
    assert limits["darkest"] == 0
