"""Parts of one's own, each registered in one line and used from the command line."""

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
from medvae.geometry import Box
from medvae.labels import LABEL_FORMATS, LabelFormat, LabelledImage, LabelSource, Ledger
from medvae.latent import SAMPLERS
from medvae.records import Category
from medvae.render import RENDERS, Render, Rendered, Scene
from medvae_cli.main import cli
from toy_sampler import Onwards


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


class Lines(LabelFormat):
    """A file with one JSON array of a picture's name and a box on each line."""

    name = "lines"
    option = "lines"

    def holds(self, source: LabelSource) -> bool:
        return source.has((".lines",))

    def resembles(self, source: LabelSource) -> str | None:
        return self.name if self.holds(source) else None

    def read(self, source: LabelSource, ledger: Ledger) -> str:
        ledger.files.append(source.path)
        for number, line in enumerate(source.path.read_text().splitlines(), start=1):
            file, x0, y0, x1, y1 = json.loads(line)
            with ledger.record(f"line {number}") as record:
                record.slices = [ledger.index.slice(file, source.folder)]
                record.add(Category("lesion"), Box(x0, y0, x1, y1))
        return self.name

    def write(self, folder: Path, images: Sequence[LabelledImage]) -> None:
        lines = [
            json.dumps([image.file, *finding.box]) for image in images for finding in image.labels
        ]
        (folder / "labels.lines").write_text("\n".join(lines))


def augment(studies: Path, run: Path, out: Path, *options: str) -> tuple[int, str]:
    """Augment slices by a command; return the exit code and what is printed."""
    command = ["augment", str(studies), "--model", str(run), "--out", str(out)]
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


@pytest.fixture
def own_gates() -> Iterator[None]:
    """A registered gate; without ``copy``, as the model of the tests changes slices too little."""
    known = dict(GATES)
    GATES[LevelGate.name] = LevelGate
    del GATES["copy"]
    yield
    GATES.clear()
    GATES.update(known)


@pytest.mark.usefixtures("own_gates")
def test_a_gate_of_ones_own(studies: Path, run: Path, tmp_path: Path) -> None:
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


def test_a_sampler_of_ones_own(
    studies: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SAMPLERS, Onwards.name, Onwards)
    own = ("--sampler", "onwards", "--render", "decode", "--strength", "2")
    code, output = augment(studies / "p2", run, tmp_path / "out", *own)
    assert "draws kept" in output, (code, output)
    lines = lines_of(tmp_path / "out")
    assert {line["sampler"] for line in lines} == {"onwards"}
    # Nothing is drawn, so that seeds do not matter.
    augment(studies / "p2", run, tmp_path / "other", *own, "--seed", "1")
    assert [line["gates"] for line in lines_of(tmp_path / "other")] == [
        line["gates"] for line in lines
    ]
    code, output = augment(studies / "p2", run, tmp_path / "none", "--sampler", "backwards")
    assert code == 2
    assert re.search(r"unknown sampler 'backwards'.* onwards", " ".join(output.split()))


@pytest.fixture
def lines_format() -> Iterator[None]:
    """A registered format of labels."""
    LABEL_FORMATS.insert(0, Lines())
    yield
    LABEL_FORMATS.pop(0)


@pytest.mark.usefixtures("lines_format")
def test_a_label_format_of_ones_own(studies: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    own = ("--labels", str(studies / "coco.json"), "--labels-format", "lines,coco")
    code, output = augment(studies, run, out, "--copies", "2", *own)
    assert code == 0, output
    kept = [line for line in lines_of(out) if line["outcome"] == "kept"]
    boxes = [json.loads(line) for line in (out / "labels.lines").read_text().splitlines()]
    assert boxes
    assert len(boxes) == sum(len(line["labels"]) for line in kept)
    read = {}
    for labels in ("labels.lines", "coco.json"):
        command = ["inspect", str(out / "images"), "--labels", str(out / labels), "--json"]
        result = CliRunner().invoke(cli, command)
        assert result.exit_code == 0, result.output
        read[labels] = json.loads(result.stdout)
    ours, coco = (read[labels]["labels"] for labels in read)
    assert ours["format"] == "lines"
    assert ours["findings"] == coco["findings"] == len(boxes)


@pytest.mark.usefixtures("lines_format")
def test_help_lists_what_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SAMPLERS, Onwards.name, Onwards)
    monkeypatch.setitem(RENDERS, Mirror.name, Mirror)
    shown = " ".join(CliRunner().invoke(cli, ["augment", "--help"]).output.split())
    assert re.search(r"--sampler S Sampler of latents: [^.]*, onwards\.", shown)
    assert re.search(r"--render R [^.]*, mirror\.", shown)
    assert re.search(r"--labels-format F\[,F\] [^.]*: lines, ", shown)
