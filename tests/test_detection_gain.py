"""The benchmark of what synthetic slices are worth to a detector."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import combinations, pairwise
from pathlib import Path
from subprocess import PIPE, Popen
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch
from monai.apps.detection.transforms.array import BoxToMask, MaskToBox
from monai.transforms import Affine
from numpy.typing import NDArray
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detection_gain import classic, page
from detection_gain.__main__ import _fill, main
from detection_gain.arms import ARMS, parse_arm
from detection_gain.bench import Grid
from detection_gain.cells import Cell, open_folder
from detection_gain.centres import Centres
from detection_gain.claims import claim
from detection_gain.detector import BATCH, Detector, Found, Part, fit, predict
from detection_gain.folds import labelled_patients, make_folds
from detection_gain.hosts import HOSTS
from detection_gain.random_field import RandomField
from detection_gain.results import choose, interval, summary
from detection_gain.retinanet import RetinaNet
from detection_gain.scores import FALSE_POSITIVES, score
from detection_gain.slices import Examples, read
from detection_gain.vae import once
from medvae.errors import ReadError, UsageProblem, WriteError
from medvae.intensity import Canvas, IntensityMap
from medvae.render._warp import Warp
from scenes import scene_of

SIDE = 64
PATIENTS = 12
SLICES = 4
CPU = torch.device("cpu")
ARMS_OF_TABLE = ["classic", "negatives", "transplant", *(f"transplant-{name}" for name in HOSTS)]

Boxes = NDArray[np.float32]


class TestPage:
    """The page of the benchmark: its figures are those of the cells that are kept."""

    def test_is_computed_from_the_cells(self) -> None:
        text = Path(page.__file__).with_name("README.md").read_text()
        assert text.count("<!-- end -->") == 3
        assert page.page(text) == text

    def test_table_has_each_fold_and_all_of_them(self) -> None:
        def cell(fold: int, repeat: int, arm: str, ap50: float) -> dict[str, Any]:
            place = {"fold": fold, "repeat": repeat, "arm": arm, "patients": 6}
            scores = {"ap30": 0.5, "ap50": ap50, "sensitivity": {"1": 0.75}}
            return {"cell": {**place, "steps": 1400, "classic": 1.0}, "scores": scores}

        rows = page.table(
            [
                cell(4, 0, "transplant", 0.6),
                cell(4, 0, "classic", 0.5),
                cell(5, 0, "classic", 0.3),
                cell(5, 0, "transplant", 0.5),
                cell(5, 1, "transplant", 0.9),
            ]
        ).splitlines()
        # No row is compared with the other baselines, so that their columns are left out.
        assert rows[2:] == [
            "| 4 | 6 | 1400 | 1 | `classic` | 1 | 0.500 | 0.500 |  | 0.750 |",
            "| 4 | 6 | 1400 | 1 | `transplant` | 1 | 0.500 | 0.600 | +0.100 | 0.750 |",
            "| 5 | 6 | 1400 | 1 | `classic` | 1 | 0.500 | 0.300 |  | 0.750 |",
            "| 5 | 6 | 1400 | 1 | `transplant` | 2 | 0.500 | 0.700 | +0.200 | 0.750 |",
            "| all | 6 | 1400 | 1 | `classic` | 2 | 0.500 | 0.400 |  | 0.750 |",
            "| all | 6 | 1400 | 1 | `transplant` | 3 | 0.500 | 0.667 | +0.150 (-0.485 to 0.785) "
            "| 0.750 |",
        ]


class TestScores:
    """Against other people's code, and against counting."""

    @pytest.mark.parametrize("seed", range(3))
    def test_average_precision_is_that_of_pycocotools(
        self, seed: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        found, wanted = guesses(seed)
        scores = score(found, wanted)
        assert scores["ap30"] == pytest.approx(by_pycocotools(found, wanted, [0.3]), abs=1e-6)
        assert scores["ap50"] == pytest.approx(by_pycocotools(found, wanted, [0.5]), abs=1e-6)
        steps = np.linspace(0.5, 0.95, 10)
        assert scores["ap"] == pytest.approx(by_pycocotools(found, wanted, steps), abs=1e-6)
        assert 0.05 < scores["ap50"] < scores["ap30"] < 0.95

    def test_sensitivity_is_what_counting_gives(self) -> None:
        found, wanted = guesses(3)
        scores = score(found, wanted)
        best = dict.fromkeys(FALSE_POSITIVES, 0.0)
        for least in sorted({value for _, values in found for value in values.tolist()}):
            hits, misses = counted(found, wanted, least)
            for rate in FALSE_POSITIVES:
                if misses <= rate * len(found):
                    best[rate] = max(best[rate], hits / sum(map(len, wanted)))
        told = {float(rate): value for rate, value in scores["sensitivity"].items()}
        assert told == pytest.approx(best)
        assert told[0.125] < told[1] < told[8]
        assert scores["froc"] == pytest.approx(np.mean(list(best.values())))

    def test_who_finds_nothing_gets_nothing(self) -> None:
        _, wanted = guesses(4)
        nothing = (np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
        scores = score([nothing] * len(wanted), wanted)
        assert scores["ap30"] == scores["ap50"] == scores["froc"] == 0


class TestClassic:
    def test_boxes_follow_what_they_are_around(self) -> None:
        images, boxes = torch.zeros(40, 1, SIDE, SIDE), torch.zeros(40, 2, 4)
        for row in range(40):
            box = torch.tensor([20.0, 24.0, 20 + 8 + row % 12, 24 + 20 - row % 12])
            images[row, 0], boxes[row, 0] = ellipse(box), box
        moved, new = classic.vary(images, boxes, torch.Generator().manual_seed(0), 1.0)
        for picture, own in zip(moved[:, 0], new, strict=True):
            rows, columns = np.nonzero(picture.numpy() > 0.4)
            around = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert own[0].tolist() == pytest.approx(around, abs=1.5)
            assert own[1].tolist() == [0, 0, 0, 0]
        assert (new[:, 0] - boxes[:, 0]).abs().mean() > 2

    def test_it_is_what_monai_does_slice_by_slice(self) -> None:
        random = torch.Generator().manual_seed(1)
        image, box = torch.rand(1, 1, SIDE, SIDE), torch.tensor([[[12.0, 30.0, 30.0, 42.0]]])
        matrix = classic._matrices(1, random, 1.0)
        _, new = classic.vary(image, box, torch.Generator().manual_seed(1), 1.0)
        # MONAI's first axis of space is the rows, and its boxes and matrices follow it.
        swapped = box[0][:, [1, 0, 3, 2]]
        mask = BoxToMask(bg_label=-1, ellipse_mask=True)(swapped, torch.zeros(1), (SIDE, SIDE))
        affine = torch.eye(3)
        affine[:2, :2] = matrix[0, :, :2].flip(0, 1)
        affine[:2, 2] = matrix[0, :, 2].flip(0) * SIDE / 2
        move = Affine(affine=affine, padding_mode="zeros", mode="nearest", image_only=True)
        there = MaskToBox(bg_label=0)(torch.as_tensor(move(mask + 1)))[0]
        assert (new - box).abs().max() > 2
        assert new[0, 0].tolist() == pytest.approx(there[0][[1, 0, 3, 2]].tolist(), abs=1.5)

    def test_strength_0_changes_nothing(self) -> None:
        images, boxes = torch.rand(3, 1, SIDE, SIDE), torch.tensor([[[5.0, 6.0, 30.0, 20.0]]] * 3)
        moved, new = classic.vary(images, boxes, torch.Generator().manual_seed(0), 0.0)
        assert torch.allclose(moved, images, atol=1e-5)
        assert torch.allclose(new, boxes, atol=1e-4)


@pytest.mark.parametrize("network", [Centres, RetinaNet])
class TestDetector:
    @pytest.mark.slow
    def test_learns_to_find_discs(self, network: type[Detector]) -> None:
        examples, others = discs(96, 0), discs(32, 1)
        model = fit(network, [Part(examples, BATCH)], 60, 0, 0.5, CPU)
        wanted = [others.boxes_of(row) for row in range(len(others))]
        assert score(predict(model, others.images, CPU), wanted)["ap50"] > 0.7

    @pytest.mark.slow
    def test_same_seed_gives_the_same_detector(self, network: type[Detector]) -> None:
        parts = [Part(discs(20, 0), 6), Part(discs(5, 1), 2)]
        one, again, other = (
            fit(network, parts, 5, seed, 1.0, CPU).state_dict() for seed in (0, 0, 1)
        )
        assert all(torch.equal(one[name], again[name]) for name in one)
        weights = [name for name in one if name.endswith("weight")]
        assert not any(torch.equal(one[name], other[name]) for name in weights)

    def test_slices_without_findings_teach_something_too(self, network: type[Detector]) -> None:
        random = torch.Generator().manual_seed(0)
        empty = Examples(torch.rand(8, 1, SIDE, SIDE, generator=random), torch.zeros(8, 1, 4))
        model = fit(network, [Part(empty, len(empty))], 20, 0, 0.0, CPU)
        assert all(torch.isfinite(values).all() for values in model.state_dict().values())
        assert all(scores.max(initial=0) < 0.5 for _, scores in predict(model, empty.images, CPU))


class TestFolds:
    def test_nobody_is_on_both_sides(self) -> None:
        everyone = [f"p{number}" for number in range(20)]
        folds = make_folds(everyone, 5, 2, 0)
        assert [fold.stage for fold in folds] == ["dev"] * 3 + ["report"] * 2
        assert not any(fold.training & fold.test for fold in folds)
        assert not any(one.test & other.test for one, other in combinations(folds, 2))
        assert frozenset().union(*(fold.test for fold in folds)) == set(everyone)
        reported = folds[3].test | folds[4].test
        for fold in folds[:3]:
            assert not (fold.training | fold.test) & reported
        for fold in folds[3:]:
            assert fold.training | fold.test == set(everyone)

    def test_labelled_patients_are_of_the_training_side_and_of_those_with_findings(self) -> None:
        findings = {f"p{number}": number % 4 for number in range(40)}
        folds = make_folds(findings, 4, 1, 0)

        def draw(count: int, repeat: int) -> frozenset[str]:
            return labelled_patients(folds[3], findings, count, repeat, least=2, seed=0)

        for repeat in range(4):
            draws = [draw(count, repeat) for count in (2, 4, 8)]
            assert all(len(own) == count for own, count in zip(draws, (2, 4, 8), strict=True))
            assert all(small < large for small, large in pairwise(draws))
            assert draws[-1] <= folds[3].training
            assert all(findings[patient] >= 2 for patient in draws[-1])
        assert len({draw(4, repeat) for repeat in range(8)}) > 1

    @pytest.mark.parametrize(("count", "report"), [(1, 0), (30, 1), (4, 5)])
    def test_what_cannot_be_is_refused(self, count: int, report: int) -> None:
        with pytest.raises(UsageProblem, match=r"--folds|--report"):
            make_folds([f"p{number}" for number in range(20)], count, report, 0)

    def test_too_many_patients_are_refused(self) -> None:
        fold = make_folds("abcdef", 3, 0, 0)[0]
        with pytest.raises(UsageProblem, match="has 4 patients"):
            labelled_patients(fold, dict.fromkeys("abcdef", 9), 5, 0, least=1, seed=0)


class TestArms:
    def test_all_that_ship_fill_a_batch(self) -> None:
        for name in ARMS:
            arm = parse_arm(name, 0.25, 600)
            assert arm.real + sum(part.count for part in arm.ingredients) == BATCH
            assert arm.classic == (name != "real")

    def test_a_name_says_what_is_in_a_batch(self) -> None:
        arm = parse_arm("warp,residual-prior-draws30-strength0.5-share0.5+negatives", 0.25, 600)
        first, second = arm.ingredients
        assert (first.count, second.count, arm.real) == (12, 6, 6)
        assert second.synthetic is None
        made = first.synthetic
        assert made is not None
        assert (made.render, made.sampler, made.strength) == ("warp+residual", "prior", 0.5)
        assert made.draws == 30

    @pytest.mark.parametrize(
        "name", ["melt", "warp-random", "negatives-prior", "transplant-share0.9+negatives", ""]
    )
    def test_others_are_refused(self, name: str) -> None:
        with pytest.raises(UsageProblem, match="arm"):
            parse_arm(name, 0.25, 600)


class TestRandomField:
    def test_is_as_strong_and_as_smooth_as_what_was_learned(self) -> None:
        known = np.linspace(-3, 3, 64)
        y, x = np.meshgrid(known, known, indexing="ij")
        picture = np.exp(-(x**2) - y**2 / 2)
        before, after = (
            torch.from_numpy(values.astype(np.float32))[None, None]
            for values in (picture, np.roll(picture, 4, axis=1))
        )
        native = scene_of(picture, Canvas((64, 64), (64, 64), 64), IntensityMap(0, 1, "full"))
        learned, drawn, again = (
            render().render([native], before, after)[0]
            for render in (Warp, RandomField, RandomField)
        )
        np.testing.assert_array_equal(drawn.values, again.values)
        name = "mean_displacement_pixels"
        assert drawn.numbers[name] == pytest.approx(learned.numbers[name], rel=0.5)
        target = np.roll(picture, 4, axis=1)
        assert np.abs(learned.values - target).mean() < np.abs(drawn.values - target).mean() / 2
        rough = [np.abs(np.diff(made.values, 2)).mean() for made in (learned, drawn)]
        assert rough[1] < 2 * rough[0]


class TestGrid:
    GRID = Grid(
        (parse_arm("real", 0.25, 9), parse_arm("classic", 0.25, 9)), (6,), 2, (20, 40), (1,)
    )
    FOLDS = make_folds("abcdef", 3, 1, 0)

    def test_every_way_of_training_is_tried_on_the_dev_folds(self) -> None:
        cells = list(self.GRID.dev(self.FOLDS[:2]))
        assert len(cells) == len(set(cells)) == 2 * 2 * 2 * 2
        assert {(cell.arm, cell.classic) for cell in cells} == {("real", 0), ("classic", 1)}

    def test_only_the_chosen_one_is_reported(self) -> None:
        chosen = {("real", 6): (40, 0.0), ("classic", 6): (20, 1.0)}
        cells = list(self.GRID.report(self.FOLDS[2:], chosen))
        assert len(cells) == 4
        assert {(c.arm, c.steps, c.fold) for c in cells} == {("real", 40, 2), ("classic", 20, 2)}

    def test_the_only_way_is_reported_whatever_was_chosen(self) -> None:
        grid = Grid((parse_arm("classic", 0.25, 9),), (6,), 1, (20,), (1,))
        (cell,) = grid.report(self.FOLDS[2:], {("classic", 6): (40, 1.5)})
        assert (cell.steps, cell.classic) == (20, 1)

    def test_nothing_is_reported_that_was_not_chosen(self) -> None:
        with pytest.raises(UsageProblem, match="--stage dev"):
            list(self.GRID.report(self.FOLDS[2:], {("real", 6): (40, 0.0)}))


class TestOnce:
    def test_what_is_made_is_kept_with_its_time(self, tmp_path: Path) -> None:
        told: list[bool] = []
        made = once(tmp_path / "run", told.append, Path("begun"))
        assert made.seconds is not None
        assert once(tmp_path / "run", told.append, Path("begun")) == made
        assert told == [False]

    def test_what_was_interrupted_goes_on_and_its_time_is_unknown(self, tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "begun").touch()
        told: list[bool] = []
        assert once(tmp_path / "run", told.append, Path("begun")).seconds is None
        assert told == [True]
        assert (tmp_path / "run" / "begun").exists()

    def test_what_had_hardly_begun_is_made_anew(self, tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "half").touch()
        told: list[bool] = []
        once(tmp_path / "run", told.append, Path("begun"))
        assert told == [False]
        assert not (tmp_path / "run").exists()

    def test_what_another_is_making_is_waited_for(self, tmp_path: Path) -> None:
        begun, go_on = Event(), Event()
        told: list[str] = []

        def slowly(resume: bool) -> None:
            told.append("slowly")
            begun.set()
            assert go_on.wait(30)

        with ThreadPoolExecutor() as pool:
            first = pool.submit(once, tmp_path / "run", slowly, Path("begun"))
            assert begun.wait(30)
            second = pool.submit(
                once, tmp_path / "run", lambda _: told.append("again"), Path("begun")
            )
            assert wait([second], timeout=0.1).not_done
            go_on.set()
            assert second.result() == first.result()
        assert told == ["slowly"]


class TestClaim:
    def test_one_at_a_time(self, tmp_path: Path) -> None:
        path = tmp_path / "deep" / "cell.json"
        with claim(path, wait=False) as first, claim(path, wait=False) as second:
            assert first
            assert not second
        with claim(path, wait=False) as third:
            assert third
        assert not any(path.parent.iterdir())

    def test_the_dead_hold_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "cell.json"
        script = (
            "import sys, time; from pathlib import Path; from detection_gain.claims import claim\n"
            "with claim(Path(sys.argv[1]), wait=False): print('mine', flush=True); time.sleep(600)"
        )
        command = [sys.executable, "-c", script, str(path)]
        with Popen(
            command,
            cwd=Path(__file__).parents[1] / "examples" / "benchmarks",
            stdout=PIPE,
            text=True,
        ) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "mine\n"
            with claim(path, wait=False) as free:
                assert not free
            other.kill()
            other.wait()
            with claim(path, wait=False) as free:
                assert free

    def test_what_cannot_be_written_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(WriteError, match="file"), claim(tmp_path / "file" / "x", wait=False):
            pass


class TestOpenFolder:
    def test_two_that_begin_at_the_same_time(self, tmp_path: Path) -> None:
        out = tmp_path / "table"
        with ThreadPoolExecutor() as pool:
            with claim(out.resolve(), wait=False):
                second = pool.submit(open_folder, out, {"size": 128})
                assert wait([second], timeout=0.1).not_done
                out.mkdir()
                (out / "setting.json").write_text('{"size": 128}')
            second.result(timeout=30)
        assert [path.name for path in tmp_path.rglob("*")] == ["table", "setting.json"]


class TestFill:
    """Several processes in one folder: each cell is measured by one of them."""

    CELLS = tuple(Cell("report", 2, 6, repeat, "classic", 700, 1.0) for repeat in range(3))

    @pytest.mark.parametrize("given_up", [False, True], ids=["finished", "given up"])
    def test_what_others_are_at_is_waited_for(self, tmp_path: Path, given_up: bool) -> None:
        told: list[int] = []
        theirs, last = self.CELLS[0], Event()

        def measure(cell: Cell) -> None:
            told.append(cell.repeat)
            cell.write(tmp_path, {})
            if cell == self.CELLS[-1]:
                last.set()

        with ThreadPoolExecutor() as pool:
            with claim(theirs.path(tmp_path), wait=False):
                filling = pool.submit(_fill, tmp_path, list(self.CELLS), measure)
                assert last.wait(30)
                assert wait([filling], timeout=0.1).not_done
                assert told == [1, 2]
                if not given_up:
                    theirs.write(tmp_path, {})
            assert filling.result(timeout=30) == 0
        assert told == ([1, 2, 0] if given_up else [1, 2])

    def test_one_that_fails_keeps_no_others(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        told: list[int] = []

        def measure(cell: Cell) -> None:
            told.append(cell.repeat)
            if cell.repeat == 1:
                raise ReadError("no draw was kept")
            cell.write(tmp_path, {})

        assert _fill(tmp_path, list(self.CELLS), measure) == 1
        assert told == [0, 1, 2]
        assert "repeat1/classic" in capsys.readouterr().err


class TestResults:
    def test_each_arm_is_trained_as_is_best_on_the_dev_folds(self) -> None:
        records = [
            *cells("dev", "classic", 700, [0.4, 0.5]),
            *cells("dev", "classic", 1400, [0.6, 0.5]),
            *cells("dev", "transplant", 700, [0.7, 0.7, 0.0]),
            *cells("dev", "transplant", 1400, [0.6, 0.7]),
            *cells("report", "warp", 700, [0.9, 0.9]),
        ]
        assert choose(records) == {("classic", 6): (1400, 1.0), ("transplant", 6): (700, 1.0)}

    def test_gains_are_paired_and_of_the_reported_folds_alone(self) -> None:
        records = [
            *cells("dev", "classic", 700, [0.1, 0.1, 0.1]),
            *cells("dev", "transplant", 700, [0.9, 0.9, 0.9]),
            *cells("report", "classic", 700, [0.2, 0.4, 0.6]),
            *cells("report", "negatives", 700, [0.3, 0.5]),
            *cells("report", "transplant", 700, [0.3, 0.6, 0.7]),
        ]
        told = summary(records, "transplant")
        gain = told["gain"]["6"]["ap50"]
        # 0.1, 0.2 and 0.1: the deviation is 0.0577, and Student's t for 2 degrees is 4.3027.
        assert gain["mean"] == pytest.approx(0.4 / 3)
        assert gain["high"] - gain["mean"] == pytest.approx(4.3027 * 0.05774 / 3**0.5, abs=1e-4)
        assert gain["mean"] - gain["low"] == pytest.approx(gain["high"] - gain["mean"])
        assert gain["repeats"] == 3
        assert told["gain_over_negatives"]["6"]["ap50"]["mean"] == pytest.approx(0.05)
        row = next(r for r in told["report"] if r["arm"] == "transplant")
        assert row["seconds"] == {"vae": 60.0, "augment": None, "detector": 90.0}

    def test_one_number_has_no_interval(self) -> None:
        assert interval([0.5], [(0, 0)]) == {
            "mean": 0.5,
            "low": None,
            "high": None,
            "repeats": 1,
            "cells": 1,
        }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of heads, half of them with a lesion, with boxes in COCO and masks beside them."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for patient in range(PATIENTS):
        for kind in ("images", "masks"):
            (folder / kind / f"p{patient}").mkdir(parents=True)
        for index in range(SLICES):
            pixels, lesion = head(random, patient, index)
            name = f"p{patient}/{index}.png"
            Image.fromarray(pixels).save(folder / "images" / name)
            images.append({"id": len(images) + 1, "file_name": f"images/{name}"})
            if lesion.any():
                Image.fromarray(lesion.astype(np.uint8)).save(folder / "masks" / name)
                rows, columns = (np.flatnonzero(lesion.any(axis=axis)) for axis in (1, 0))
                box = [columns[0], rows[0], len(columns), len(rows)]
                annotation = {"id": len(annotations) + 1, "image_id": len(images)}
                annotation |= {"category_id": 1, "bbox": [int(side) for side in box]}
                annotations.append(annotation)
    categories = [{"id": 1, "name": "glioma", "supercategory": "lesion"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "coco.json").write_text(json.dumps(document))
    return folder


@pytest.fixture(scope="module")
def command(data: Path) -> Callable[[Path], list[str]]:
    """Give the arguments of a table that is measured in seconds."""

    def arguments(out: Path) -> list[str]:
        return [
            *("--data", str(data / "images"), "--labels", str(data / "coco.json")),
            *("--outlines", str(data / "masks"), "--size", "32", "--folds", "3", "--report", "1"),
            *("--patients", "2", "--repeats", "1", "--least-findings", "1", "--draws", "12"),
            *("--variant", "plain", "--epochs", "1", "--device", "cpu", "--set", "batch_size=8"),
            *("--arms", *ARMS_OF_TABLE),
            *("--stage", "report", "--steps", "20", "--out", str(out)),
        ]

    return arguments


@pytest.fixture(scope="module")
def table(command: Callable[[Path], list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished table."""
    out = tmp_path_factory.mktemp("table") / "out"
    main(command(out))
    return out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*:UserWarning")
class TestTable:
    def test_masks_give_boxes_their_outlines(self, data: Path) -> None:
        images, labels = data / "images", data / "coco.json"
        drawn = read([images], labels, size=32, outlines=data / "masks")
        assert len(drawn.slices) == PATIENTS * SLICES
        found = [finding for item in drawn.slices for finding in item.labels or ()]
        assert len(found) == PATIENTS * SLICES // 2
        assert all(finding.mask is not None for finding in found)
        assert len(drawn.free(drawn.findings)) == PATIENTS * SLICES // 2

    def test_has_all_cells_a_page_and_a_plot(self, table: Path) -> None:
        results = json.loads((table / "results.json").read_text())
        places = [
            (c["cell"]["stage"], c["cell"]["fold"], c["cell"]["arm"]) for c in results["cells"]
        ]
        assert sorted(places) == sorted(("report", 2, arm) for arm in ARMS_OF_TABLE)
        for name in ("gain", "gain_over_negatives"):
            assert results[name]["2"]["ap50"].keys() >= {"mean", "low", "high", "repeats"}
        assert "| 2 | transplant | 20 |" in (table / "table.md").read_text()
        with Image.open(table / "ap50.png") as picture:
            assert picture.width > 300

    def test_no_test_patient_is_seen(self, data: Path, table: Path) -> None:
        known = read([data / "images"], data / "coco.json", size=32)
        fold = make_folds(known.findings, 3, 1, 0)[2]
        splits = [json.loads(p.read_text()) for p in (table / "vae").glob("*-split.json")]
        seen = {frozenset(split["training"] + split["validation"]) for split in splits}
        assert seen == {fold.training}
        for path in (table / "synthetic").glob("*/manifest.jsonl"):
            assert {group for line in lines(path) for group in line["groups"]} <= fold.training
        labels = [json.loads(p.read_text()) for p in (table / "synthetic").glob("*-labels.json")]
        assert labels
        assert all(len({image["patient"] for image in one["images"]}) == 2 for one in labels)

    def test_goes_on_where_it_was_stopped(
        self, table: Path, command: Callable[[Path], list[str]]
    ) -> None:
        paths = sorted((table / "cells").glob("*/*.json"))
        before = {path: (path.stat().st_mtime_ns, path.read_text()) for path in paths}
        lost = next(path for path in paths if path.name.startswith("transplant-steps"))
        lost.unlink()
        main(command(table))
        for path, (written, text) in before.items():
            assert json.loads(path.read_text())["scores"] == json.loads(text)["scores"]
            assert (path.stat().st_mtime_ns == written) == (path != lost)

    def test_retinanet_fills_a_table_too(self, data: Path, tmp_path: Path) -> None:
        arguments = ["--data", str(data / "images"), "--labels", str(data / "coco.json")]
        places = ["--stage", "report", "--only", "2", "--folds", "3", "--report", "1"]
        sizes = ["--size", "64", "--patients", "2", "--repeats", "1", "--least-findings", "1"]
        training = ["--arms", "real", "--steps", "20", "--detector", "retinanet"]
        main([*arguments, *places, *sizes, *training, "--out", str(tmp_path / "table")])
        results = json.loads((tmp_path / "table" / "results.json").read_text())
        assert results["setting"]["detector"] == "retinanet"
        assert [cell["cell"]["arm"] for cell in results["cells"]] == ["real"]

    def test_another_setting_needs_another_folder(
        self,
        table: Path,
        command: Callable[[Path], list[str]],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        with pytest.raises(SystemExit) as stopped:
            main([*command(table), "--draws", "13"])
        assert stopped.value.code == 2
        assert "another draws" in capsys.readouterr().err


def guesses(seed: int) -> tuple[list[Found], list[Boxes]]:
    """Return findings that are half right, on slices of which some are empty."""
    random = np.random.default_rng(seed)
    found, wanted = [], []
    for _ in range(30):
        there = boxes(random, int(random.integers(0, 3)))
        near = there + random.normal(0, 3, there.shape).astype(np.float32)
        guessed = np.concatenate((near, boxes(random, int(random.integers(0, 11)))))
        wanted.append(there)
        found.append((guessed, random.random(len(guessed)).astype(np.float32)))
    return found, wanted


def boxes(random: np.random.Generator, count: int) -> Boxes:
    corners = random.uniform(0, 90, (count, 2))
    return np.hstack((corners, corners + random.uniform(12, 30, (count, 2)))).astype(np.float32)


def by_pycocotools(found: list[Found], wanted: list[Boxes], overlaps: Any) -> float:
    """Return the average precision that pycocotools computes."""
    truth, guessed = COCO(), COCO()
    images = [{"id": number} for number in range(1, len(wanted) + 1)]
    for coco, rows in ((truth, wanted), (guessed, [own for own, _ in found])):
        annotations = [
            {"image_id": image, "bbox": [x0, y0, x1 - x0, y1 - y0], "area": 1, "iscrowd": 0}
            for image, own in enumerate(rows, 1)
            for x0, y0, x1, y1 in own.astype(float).tolist()
        ]
        annotations = [{"id": i, "category_id": 1, **a} for i, a in enumerate(annotations, 1)]
        coco.dataset = {"images": images, "annotations": annotations, "categories": [{"id": 1}]}
    values = np.concatenate([scores for _, scores in found]).astype(float)
    for annotation, value in zip(guessed.dataset["annotations"], values, strict=True):
        annotation["score"] = float(value)
    truth.createIndex()
    guessed.createIndex()
    evaluation = COCOeval(truth, guessed, "bbox")
    evaluation.params.iouThrs = np.asarray(overlaps)
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
    evaluation.evaluate()
    evaluation.accumulate()
    return float(evaluation.eval["precision"][:, :, 0, 0, -1].mean())


def counted(found: list[Found], wanted: list[Boxes], least: float) -> tuple[int, int]:
    """Return how many findings are right and wrong among those of this score or more."""
    hits = misses = 0
    for (guessed, values), there in zip(found, wanted, strict=True):
        left = list(there)
        for row in np.argsort(-values):
            if values[row] < least:
                continue
            best = max(left, key=lambda box, own=guessed[row]: overlap(own, box), default=None)
            if best is not None and overlap(guessed[row], best) >= 0.3:
                left = [box for box in left if box is not best]
                hits += 1
            else:
                misses += 1
    return hits, misses


def overlap(one: Boxes, other: Boxes) -> float:
    width, height = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    common = max(width, 0) * max(height, 0)
    areas = [np.prod(box[2:] - box[:2]) for box in (one, other)]
    return float(common / (sum(areas) - common))


def ellipse(box: torch.Tensor) -> torch.Tensor:
    """Draw the ellipse in a box, with a soft edge."""
    places = torch.arange(SIDE) + 0.5
    x, y = ((2 * places - box[i] - box[i + 2]) / (box[i + 2] - box[i]) for i in (0, 1))
    distance = (torch.hypot(y[:, None], x[None]) - 1) * (box[2:] - box[:2]).min() / 2
    return (0.5 - distance).clamp(0, 1)


def discs(count: int, seed: int) -> Examples:
    """Return pictures of one disc each, or of none."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:32, :32] + 0.5
    images, found = [], []
    for number in range(count):
        y, x, radius = random.uniform(9, 23), random.uniform(9, 23), random.uniform(4, 8)
        picture = 0.3 + random.normal(0, 0.03, (32, 32))
        box = np.array([[x - radius, y - radius, x + radius, y + radius]])
        if number % 4:
            picture += 0.4 * (np.hypot(rows - y, columns - x) < radius)
        images.append(picture.clip(0, 1).astype(np.float32))
        found.append(box if number % 4 else box[:0])
    return Examples.of(images, found)


def head(
    random: np.random.Generator, patient: int, index: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return a slice of a head, ``[SIDE, SIDE]``, and the lesion on every second one."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    inside = ((rows - 32) / 27) ** 2 + ((columns - 32) / (21 + patient % 4)) ** 2 < 1
    angle, radius = random.uniform(0, 2 * np.pi), random.uniform(4, 7)
    y, x = 32 + 10 * np.sin(angle), 32 + 8 * np.cos(angle)
    lesion = (np.hypot(rows - y, columns - x) < radius) & bool(index % 2)
    level = 110 + 15 * np.cos(rows / 9 + patient + index) + 90 * lesion
    pixels = level * inside + random.normal(12, 4, (SIDE, SIDE))
    return pixels.clip(0, 255).astype(np.uint8), lesion


def cells(stage: Any, arm: str, steps: int, ap50: list[float]) -> Iterator[dict[str, Any]]:
    """Give cells of repeats, in their order."""
    for repeat, value in enumerate(ap50):
        place = Cell(stage, 0, 6, repeat, arm, steps, 1.0)
        scores = {"ap30": value, "ap50": value, "ap": value, "froc": value}
        yield {
            "cell": vars(place),
            "scores": {**scores, "sensitivity": {"1": value}},
            "seconds": {"vae": 60.0, "augment": None, "detector": 90.0},
        }


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
