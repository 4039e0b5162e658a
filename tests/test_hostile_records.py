"""What a run keeps beside its pictures, forged or damaged: one clear line, and nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from medvae.augmentation import augment
from medvae.errors import ReadError, WriteError
from medvae.labels import LabelledImage, write_yolo
from medvae.models import open_model
from medvae.records import Labels
from medvae_cli.main import cli
from outcomes import told, tree

Line = dict[str, Any]


def medvae(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def whole(studies: Path, run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose labels are YOLO files."""
    out = tmp_path_factory.mktemp("whole") / "out"
    options = {"render": "warp", "strength": 0.0, "label_formats": ("yolo",)}
    augment([studies], run, out, labels=studies / "coco.json", **options)
    return out


def spoil(out: Path, change: Callable[[Line], object]) -> None:
    """Change the first line of a manifest that has labels."""
    path = out / "manifest.jsonl"
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    change(next(line for line in lines if line["labels"]))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def resumed(studies: Path, run: Path, out: Path) -> Result:
    options = ("--render", "warp", "--strength", 0, "--labels-format", "yolo", "--resume")
    return medvae(
        "augment",
        studies,
        "--model",
        run,
        "--labels",
        studies / "coco.json",
        "--out",
        out,
        *options,
    )


@pytest.mark.parametrize("name", ["../../outside/a.png", "/{tmp}/outside/a.png", "images/../../a"])
def test_a_file_outside_the_folder_is_neither_written_nor_read(
    studies: Path, run: Path, whole: Path, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "runs" / "out"
    shutil.copytree(whole, out)
    name = name.replace("/{tmp}", str(tmp_path))
    spoil(out, lambda line: line["files"].__setitem__(0, name))
    before = tree(tmp_path)
    line = told(resumed(studies, run, out), 1)
    assert "manifest.jsonl, line " in line
    assert "'files' must stay below its folder" in line
    assert tree(tmp_path) == before
    report = tmp_path / "report"
    audit = ("audit", "--real", studies, "--synthetic", out, "--out", report)
    assert "'files' must stay below its folder" in told(medvae(*audit), 1)


def test_a_link_out_of_the_folder_is_not_followed(
    studies: Path, run: Path, whole: Path, tmp_path: Path
) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    shutil.copytree(whole, out)
    elsewhere.mkdir()
    (out / "linked").symlink_to(elsewhere)
    spoil(out, lambda line: line["files"].__setitem__(0, "linked/a.png"))
    assert "'files' must stay below its folder" in told(resumed(studies, run, out), 1)
    assert not list(elsewhere.iterdir())


def test_yolo_files_stay_in_their_folder(tmp_path: Path) -> None:
    image = LabelledImage("../a.png", (8, 8), Labels())
    with pytest.raises(WriteError, match=r"the file '\.\./a\.txt' is not in this folder"):
        write_yolo(tmp_path / "yolo", [image])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda line: line.update(files="images"), "'files' must be a list of 1 or more strings"),
        (lambda line: line.update(files=[]), "'files' must be a list of 1 or more strings"),
        (lambda line: line.update(groups="abc"), "'groups' must be a list of 1 or more strings"),
        (lambda line: line.update(sources=[1]), "'sources' must be a list of 1 or more strings"),
        (lambda line: line.update(shape=[64]), "'shape' must be the rows and columns"),
        (lambda line: line.update(shape=[2**40, 2**40]), "'shape' must be the rows and columns"),
        (lambda line: line.update(outcome="lost"), "'outcome' must be kept or rejected"),
        (lambda line: line.update(labelled=1), "'labelled' must be true or false"),
        (lambda line: line.pop("batch"), "'batch' must be a string, but is missing"),
        (lambda line: line.update(labels={}), "'labels' must be a list of objects"),
        (
            lambda line: line["labels"][0].update(box=[5, 5, 5, 9]),
            "'box' must be a box with an area on its slice of 64x64",
        ),
        (
            lambda line: line["labels"][0].update(box=[0, 0, float("nan"), 9]),
            "'box' must be a list of 4 finite numbers",
        ),
        (
            lambda line: line["labels"][0].update(mask={"size": [64, 64], "counts": "nonsense"}),
            "its segmentation",
        ),
        (lambda line: line["labels"][0].update(category=[]), "'category' must be a string"),
    ],
)
@pytest.mark.parametrize("command", ["augment", "audit"])
def test_a_line_of_the_manifest_that_is_not_as_it_was_written(
    studies: Path,
    run: Path,
    whole: Path,
    tmp_path: Path,
    command: str,
    change: Callable[[Line], object],
    said: str,
) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    spoil(out, change)
    if command == "augment":
        line = told(resumed(studies, run, out), 1)
    else:
        report = ("--out", tmp_path / "report")
        line = told(medvae("audit", "--real", studies, "--synthetic", out, *report), 1)
    assert f"{out / 'manifest.jsonl'}, line " in line
    assert said in line


def test_a_line_that_is_nested_too_deeply(
    studies: Path, run: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    for depth in (200, 100_000):
        (out / "manifest.jsonl").write_text('{"key": ' + "[" * depth + "]" * depth + "}\n")
        line = told(resumed(studies, run, out), 1)
        assert line.endswith("manifest.jsonl, line 1: is nested too deeply")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"medvae": {"modalities": "MR"}}, "'modalities' must be a list of strings, but is 'MR'"),
        ({"medvae": []}, "'medvae' must be an object"),
        ({"medvae": {"intensity": "bright"}}, "intensity 'bright': unknown kind 'bright'"),
        ([], "must be a JSON object"),
    ],
)
def test_metadata_of_a_bundle(run: Path, tmp_path: Path, content: object, said: str) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(run, bundle)
    path = bundle / "configs" / "metadata.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ReadError) as caught:
        open_model(bundle)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
