"""`augment` from end to end, on files that are written and read back."""

from __future__ import annotations

import json
import random
import time
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import numpy as np
import pytest
from made import lines_of, made
from PIL import Image
from pycocotools.coco import COCO

import medvae
from heads import LESIONS, SECRETS, SLICES
from medvae.augmentation import augment
from medvae.errors import UsageProblem, WriteError
from medvae.labels import attach_labels
from medvae.readers import open_studies, read_pixels
from medvae.records import Pixels
from outcomes import tree


def stored(folder: Path) -> list[bytes]:
    """Return the stored pixels of all slices in a folder, sorted."""
    slices = list(open_studies([folder], modality="MR").slices)
    found = [pixels for _, pixels in read_pixels(slices)]
    return sorted(p.stored.astype("<u2").tobytes() for p in found if isinstance(p, Pixels))


class TestStrengthZero:
    @pytest.mark.parametrize("render", ["warp", "residual", "warp+residual"])
    @pytest.mark.parametrize("per", ["slice", "study"])
    def test_gives_the_source_back(
        self, studies: Path, run: Path, tmp_path: Path, render: str, per: str
    ) -> None:
        formats = ("dicom", "nifti", "png")
        lines = made(
            studies, run, tmp_path / "out", render=render, per=per, strength=0.0, formats=formats
        )
        assert [line["outcome"] for line in lines] == ["kept"] * 4 * SLICES
        for name in formats:
            assert stored(tmp_path / "out" / "images" / name) == stored(studies)


@pytest.fixture(scope="module")
def out(studies: Path, run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with transplanted lesions."""
    out = tmp_path_factory.mktemp("transplant") / "out"
    made(studies, run, out, copies=4, formats=("png", "dicom"), label_formats=("coco", "yolo"))
    return out


class TestTransplant:
    def test_is_chosen_for_lesions(self, studies: Path, run: Path, tmp_path: Path) -> None:
        plan = augment(
            [studies], run, tmp_path / "out", labels=studies / "coco.json", dry_run=True, copies=4
        )
        assert plan.render == "transplant (because the findings are lesions)"
        assert plan.planned == 4 * LESIONS
        assert not (tmp_path / "out").exists()

    def test_every_draw_has_its_line(self, out: Path) -> None:
        lines = lines_of(out)
        assert len(lines) == 4 * LESIONS == len({line["key"] for line in lines})
        kept = [line for line in lines if line["outcome"] == "kept"]
        assert kept
        for line in kept:
            assert len(set(line["groups"])) == 2
            assert len(set(line["sources"])) == 2
            assert all((out / file).is_file() for file in line["files"])
            assert len(line["labels"]) == 1
        assert all(line["reason"] for line in lines if line["outcome"] == "rejected")

    @pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
    def test_labels_are_where_the_lesion_is(self, out: Path) -> None:
        coco = COCO(str(out / "coco.json"))
        assert coco.imgs
        for image in coco.imgs.values():
            pixels = np.asarray(Image.open(out / image["file_name"])).astype(float)
            for record in coco.imgToAnns[image["id"]]:
                mask = coco.annToMask(record).astype(bool)
                x, y, width, height = map(int, record["bbox"])
                box = pixels[y : y + height, x : x + width]
                assert mask[y : y + height, x : x + width].sum() == mask.sum() == record["area"]
                around = pixels[max(0, y - 4) : y + height + 4, max(0, x - 4) : x + width + 4]
                assert pixels[mask].mean() > np.median(around)
                assert box.size > 20

    def test_labels_are_read_back(self, out: Path) -> None:
        studies = open_studies([out / "images" / "png"], modality="MR").studies
        labelled = attach_labels(studies, out / "coco.json")
        assert not labelled.problems
        assert all(item.labels for study in labelled.studies for item in study.slices)

    def test_nothing_written_names_a_patient(self, out: Path, studies: Path) -> None:
        secrets = [secret.encode() for secret in (*SECRETS, str(studies), studies.name)]
        for name, content in tree(out).items():
            for secret in secrets:
                assert secret not in content, (name, secret)

    def test_preview_stands_alone(self, out: Path) -> None:
        page = (out / "preview.html").read_text()
        assert page.count("<article") == page.count("<figcaption>Synthetic:") > 0
        assert "http" not in page.replace("http-equiv", "")
        assert not (out / ".preview").exists()


class TestSameBytes:
    @pytest.mark.slow
    def test_whatever_the_workers_and_the_order(
        self, studies: Path, run: Path, tmp_path: Path
    ) -> None:
        folders = [studies / f"p{patient}" for patient in range(4)]
        trees = []
        for number, (order, workers) in enumerate([(folders, 1), (folders[::-1], 3)]):
            out = tmp_path / str(number)
            augment(
                order,
                run,
                out,
                labels=studies / "coco.json",
                workers=workers,
                render="transplant+warp",
                copies=3,
                formats=("dicom", "png"),
                label_formats=("coco", "monai", "yolo"),
            )
            trees.append(tree(out))
        assert trees[0] == trees[1]

    @pytest.mark.slow
    def test_after_kills_at_random_moments(
        self, studies: Path, run: Path, tmp_path: Path, fork: ForkServerContext
    ) -> None:
        def augmented(out: Path, resume: bool = False) -> ForkServerProcess:
            options = {"labels": studies / "coco.json", "copies": 12, "workers": 2}
            options |= {"formats": ("png", "dicom"), "resume": resume}
            process = fork.Process(target=augment, args=([studies], run, out), kwargs=options)
            process.start()
            return process

        start = time.monotonic()
        first = augmented(tmp_path / "whole")
        first.join()
        whole = time.monotonic() - start
        assert first.exitcode == 0
        moments = random.Random(0)
        out, kills = tmp_path / "killed", 0
        for _ in range(6):
            process = augmented(out, resume=(out / "run.json").exists())
            process.join(moments.uniform(0.2, 0.6) * whole)
            if not process.is_alive():
                break
            process.kill()
            kills += 1
            process.join()
        last = augmented(out, resume=True)
        last.join()
        assert last.exitcode == 0
        assert kills > 1
        assert tree(out) == tree(tmp_path / "whole")


class TestWrongUse:
    def test_labels_of_other_slices(self, studies: Path, run: Path, tmp_path: Path) -> None:
        other = tmp_path / "other.json"
        images = [{"id": 1, "file_name": "elsewhere.dcm", "width": 9, "height": 9}]
        other.write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
        with pytest.raises(UsageProblem, match="none of its labels belongs to a slice"):
            made(studies, run, tmp_path / "out", labels=other)

    def test_no_positive_slice(self, studies: Path, run: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageProblem, match="none of the slices has a finding"):
            augment([studies / "p3"], run, tmp_path / "out", only_positive=True)

    @pytest.mark.slow
    def test_a_held_out_patient(self, studies: Path, run: Path, tmp_path: Path) -> None:
        groups = sorted(study.group for study in open_studies([studies]).studies)
        split = tmp_path / "split.json"
        split.write_text(json.dumps({"training": groups[1:], "validation": groups[:1]}))
        with pytest.raises(
            UsageProblem, match="split: holds out 1 of the patients among the sources"
        ):
            made(studies, run, tmp_path / "out", split=split)
        held_out = next(s for s in open_studies([studies]).studies if s.group == groups[0])
        folder = next(held_out.slices).source.path.parent
        others = [studies / f"p{n}" for n in range(4) if studies / f"p{n}" != folder]
        with pytest.raises(
            UsageProblem, match="split: holds out 1 of the patients among the hosts"
        ):
            augment(others, run, tmp_path / "out", hosts=[folder], split=split)

    def test_hosts_of_another_modality(self, studies: Path, run: Path, tmp_path: Path) -> None:
        Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "a.png")
        with pytest.raises(UsageProblem, match="was trained on MR, not on CT"):
            augment([tmp_path / "a.png"], run, tmp_path / "out", modality="CT", hosts=[studies])

    def test_hosts_without_transplants(self, studies: Path, run: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageProblem, match="hosts: are of use to the render transplant only"):
            made(studies, run, tmp_path / "out", render="warp", hosts=[studies / "p3"])

    @pytest.mark.parametrize("render", ["paint", "warp+transplant", "warp+warp", ""])
    def test_renders_that_are_none(
        self, studies: Path, run: Path, tmp_path: Path, render: str
    ) -> None:
        with pytest.raises(UsageProblem, match="; choose from auto, transplant, decode"):
            made(studies, run, tmp_path / "out", render=render)

    @pytest.mark.slow
    def test_a_folder_that_holds_another_run(
        self, studies: Path, run: Path, tmp_path: Path
    ) -> None:
        made(studies, run, tmp_path / "out", strength=0.0, render="warp")
        with pytest.raises(UsageProblem, match="holds a run; resume it"):
            made(studies, run, tmp_path / "out", strength=0.0, render="warp")
        with pytest.raises(UsageProblem, match="holds a run with another seed"):
            made(studies, run, tmp_path / "out", strength=0.0, render="warp", seed=1, resume=True)

    def test_a_folder_that_cannot_be_written(
        self, studies: Path, run: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises((UsageProblem, WriteError), match="file"):
            made(studies, run, tmp_path / "file" / "out", strength=0.0, render="warp")


def test_is_there_for_other_programs() -> None:
    assert medvae.augment is augment
