"""`augment --per study`: whole lesions in whole series, and series that move as one."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

import nibabel
import numpy as np
import pytest
from made import Line, lines_of, made
from numpy.typing import NDArray
from PIL import Image
from pycocotools.coco import COCO

from medvae.augmentation import augment
from medvae.errors import UsageProblem
from medvae.labels import attach_labels, finding_from_record
from medvae.readers import open_studies
from medvae.records import Series, Slice
from outcomes import tree

DONOR_GAP = 4.0


def kept(lines: list[Line]) -> list[list[Line]]:
    """Return the lines of each series that was kept; there is one at least."""
    batches = [list(own) for _, own in groupby(lines, key=lambda line: str(line["batch"]))]
    found = [own for own in batches if own[0]["outcome"] == "kept"]
    assert found
    return found


def by_key(folder: Path) -> dict[str, tuple[Slice, Series]]:
    """Return the slices in a folder by their keys."""
    studies = open_studies([folder], modality="MR").studies
    series = [series for study in studies for series in study.series]
    return {native.key: (native, own) for own in series for native in own.slices}


def picture(out: Path, line: Line) -> NDArray[np.int64]:
    """Return the pixels of a synthetic slice in its PNG."""
    (name,) = (name for name in line["files"] if name.endswith(".png"))
    return np.asarray(Image.open(out / name)).astype(np.int64)


def shown(own: list[Line]) -> list[int]:
    """Return which lines of a series have a label."""
    return [index for index, line in enumerate(own) if line["labels"]]


def pixels_of_lesion(own: list[Line]) -> float:
    """Count the pixels of a lesion in a series."""
    shape = (64, 64)
    masks = [finding_from_record(r, shape).mask for line in own for r in line["labels"]]
    return float(sum(mask.area for mask in masks if mask is not None))


@pytest.fixture(scope="module")
def out(volumes: Path, volume_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with whole lesions."""
    out = tmp_path_factory.mktemp("whole") / "out"
    made(volumes, volume_run, out, per="study", copies=3, formats=("png", "dicom", "nifti"))
    return out


@pytest.mark.slow
class TestWholeLesions:
    def test_a_lesion_becomes_a_series_of_its_host(self, out: Path, volumes: Path) -> None:
        real = by_key(volumes)
        for own in kept(lines_of(out)):
            hosts = [real[line["sources"][-1]] for line in own]
            assert [native for native, _ in hosts] == list(hosts[0][1].slices)
            assert all(native.labels is None for native, _ in hosts)
            assert len({line["key"] for line in own}) == len(own)
            for line in own:
                assert len(set(line["groups"])) == 2
                assert line["groups"][0] == hosts[0][0].group
                assert all((out / file).is_file() for file in line["files"])

    def test_it_runs_through_neighbouring_slices_and_all_else_is_the_host(
        self, out: Path, volumes: Path
    ) -> None:
        real = by_key(volumes)
        for own in kept(lines_of(out)):
            with_label = shown(own)
            assert with_label == list(range(with_label[0], with_label[-1] + 1))
            assert len(with_label) >= 2
            for line in own:
                host = real[line["sources"][-1]][0].pixels().stored.astype(np.int64)
                changed = np.argwhere(picture(out, line) != host)
                if not line["labels"]:
                    assert not len(changed)
                    assert not line["gates"]
                    continue
                (box,) = (record["box"] for record in line["labels"])
                assert (changed[:, ::-1] >= np.array(box[:2]) - 4).all()
                assert (changed[:, ::-1] <= np.array(box[2:]) + 4).all()

    def test_its_size_is_physical(self, out: Path, volumes: Path) -> None:
        labelled = attach_labels(open_studies([volumes]).studies, volumes / "coco.json")
        donors = {
            native.key: sum(
                finding.mask.area
                for each in series.slices
                for finding in each.labels or ()
                if finding.mask
            )
            for study in labelled.studies
            for series in study.series
            for native in series.slices
        }
        real = by_key(volumes)
        for own in kept(lines_of(out)):
            gap = real[own[0]["sources"][-1]][1].gap
            assert gap
            scale = own[shown(own)[0]]["numbers"]["scale"]
            expected = donors[own[0]["sources"][0]] * DONOR_GAP * scale**3
            assert pixels_of_lesion(own) * gap == pytest.approx(expected, rel=0.35)

    @pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
    def test_labels_are_read_back_where_the_lesion_is(self, out: Path) -> None:
        coco = COCO(str(out / "coco.json"))
        assert len(coco.imgs) == sum(map(len, kept(lines_of(out))))
        for image in coco.imgs.values():
            pixels = np.asarray(Image.open(out / image["file_name"])).astype(float)
            for record in coco.imgToAnns[image["id"]]:
                mask = coco.annToMask(record).astype(bool)
                rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
                around = pixels[
                    max(0, rows[0] - 4) : rows[-1] + 5, max(0, columns[0] - 4) : columns[-1] + 5
                ]
                assert pixels[mask].mean() > np.median(around)
        studies = open_studies([out / "images" / "dicom"]).studies
        matched = attach_labels(studies, out / "coco.json")
        assert not matched.problems

    def test_each_is_one_series_in_every_format(self, out: Path) -> None:
        for own in kept(lines_of(out)):
            names = [sorted(Path(name).suffix for name in line["files"]) for line in own]
            assert names == [[".dcm", ".gz", ".png"]] * len(own)
            (volume,) = {name for line in own for name in line["files"] if name.endswith(".gz")}
            voxels = np.asarray(nibabel.load(out / volume).dataobj)
            stack = np.stack([picture(out, line) for line in own], axis=-1)
            # Real values are not rounded to the integers that a picture has.
            assert np.abs(voxels.transpose(1, 0, 2) - stack).max() <= 0.5
        for study in open_studies([out / "images" / "dicom"]).studies:
            assert all(len(series.slices) in (17, 22) for series in study.series)
            assert not any(series.flags for series in study.series)

    def test_the_preview_shows_each_once(self, out: Path) -> None:
        page = (out / "preview.html").read_text()
        count = len(kept(lines_of(out)))
        assert page.count("<article") == page.count("<figcaption>Donor:") == count
        assert page.count("<figcaption>Synthetic: glioma") == count

    def test_unvaried_it_is_as_it_was(
        self, volumes: Path, volume_run: Path, tmp_path: Path
    ) -> None:
        lines = made(volumes, volume_run, tmp_path / "out", per="study", strength=0.0)
        own = [line["numbers"] for line in lines if line["labels"]]
        assert own
        assert {n["scale"] for n in own} == {n["aspect"] for n in own} == {1.0}

    def test_slices_without_known_places_are_counted(
        self, volumes: Path, volume_run: Path, tmp_path: Path
    ) -> None:
        pictures, labels = tmp_path / "pictures", json.loads((volumes / "coco.json").read_text())
        for image in labels["images"]:
            file = volumes / image["file_name"]
            native = next(open_studies([file]).slices)
            image["file_name"] = str(Path(image["file_name"]).with_suffix(".png"))
            path = pictures / image["file_name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(native.pixels().stored).save(path)
        (pictures / "coco.json").write_text(json.dumps(labels))
        lines = made(
            pictures, volume_run, tmp_path / "out", per="study", strength=0.0, modality="MR"
        )
        donors = attach_labels(
            open_studies([pictures], modality="MR").studies, pictures / "coco.json"
        ).studies
        sections = {
            native.key: sum(bool(each.labels) for each in series.slices)
            for study in donors
            for series in study.series
            for native in series.slices
        }
        for own in kept(lines):
            assert abs(len(shown(own)) - sections[own[0]["sources"][0]]) <= 1

    def test_then_the_whole_series_may_be_warped(
        self, volumes: Path, volume_run: Path, tmp_path: Path
    ) -> None:
        lines = made(
            volumes, volume_run, tmp_path / "out", per="study", render="transplant+warp", copies=2
        )
        real = by_key(volumes)
        for own in kept(lines):
            assert all(line["numbers"]["least_jacobian"] > 0 for line in own)
            assert len(shown(own)) >= 2
            for line in own:
                host = real[line["sources"][-1]][0].pixels().stored
                assert (picture(tmp_path / "out", line) != host).any() or not host.any()

    def test_a_host_must_be_free_as_a_whole(
        self, volumes: Path, volume_run: Path, tmp_path: Path
    ) -> None:
        choices = {"labels": volumes / "coco.json", "per": "study", "dry_run": True}
        sick = [volumes / "v0", volumes / "v1"]
        with pytest.raises(UsageProblem, match="no whole series of another patient"):
            augment(sick, volume_run, tmp_path, render="transplant", **choices)
        chosen = augment(sick, volume_run, tmp_path, **choices).render
        assert chosen == "warp (because no other patient has a series known to be free of lesions)"


class TestSeriesThatMoveAsOne:
    @pytest.mark.slow
    def test_empty_slices_make_no_copy_of_a_series(
        self, volumes: Path, volume_run: Path, tmp_path: Path
    ) -> None:
        lines = made(volumes, volume_run, tmp_path / "out", per="study", render="warp")
        limit = json.loads((tmp_path / "out" / "gates.json").read_text())["distance"]
        distances = [[line["gates"]["copy distance"] for line in own] for own in kept(lines)]
        assert all(min(own) < limit for own in distances)
        assert min(np.median(own) for own in distances) < limit

    @pytest.mark.slow
    def test_one_whose_slices_are_copies_is_rejected_as_a_whole(
        self, volumes: Path, volume_run: Path, tmp_path: Path
    ) -> None:
        lines = made(
            volumes, volume_run, tmp_path / "out", per="study", render="warp", strength=0.001
        )
        assert {line["reason"] for line in lines} == {"copy: distance too low"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "choices",
    [
        {"render": "transplant+warp", "formats": ("dicom", "png"), "copies": 2},
        {"render": "warp", "sampler": "interpolate", "formats": ("nifti", "png"), "merge": True},
    ],
)
def test_same_bytes_whatever_the_workers_and_the_order(
    volumes: Path, volume_run: Path, tmp_path: Path, choices: dict[str, object]
) -> None:
    folders = [volumes / f"v{patient}" for patient in range(4)]
    trees = []
    for workers, order in ((1, folders), (3, folders[::-1])):
        out = tmp_path / str(workers)
        augment(
            order,
            volume_run,
            out,
            labels=volumes / "coco.json",
            workers=workers,
            per="study",
            label_formats=("coco", "monai"),
            **choices,  # type: ignore[arg-type]
        )
        trees.append(tree(out))
    assert trees[0] == trees[1]
    assert kept(lines_of(tmp_path / "1"))


@pytest.mark.slow
@pytest.mark.parametrize("render", ["transplant", "warp"])
def test_labels_of_volumes_name_the_slice(
    volumes: Path, volume_run: Path, tmp_path: Path, render: str
) -> None:
    document = json.loads((volumes / "coco.json").read_text())
    unlabelled = ("v0/01.dcm", "v0/10.dcm")
    document["images"] = [i for i in document["images"] if i["file_name"] not in unlabelled]
    some = tmp_path / "some.json"
    some.write_text(json.dumps(document))
    out = tmp_path / "out"
    choices = {"formats": ("nifti", "png"), "label_formats": ("coco", "monai"), "render": render}
    own = kept(made(volumes, volume_run, out, labels=some, per="study", **choices))
    expected = [
        [
            [record["box"] for record in line["labels"]] if line["labelled"] else None
            for line in lines
        ]
        for lines in own
    ]
    for file in ("coco.json", "datalist.json"):
        found = []
        for lines in own:
            studies = open_studies([out / lines[0]["files"][0]], modality="MR").studies
            labelled = attach_labels(studies, out / file)
            (series,) = (one for study in labelled.studies for one in study.series)
            found.append(
                [
                    None if native.labels is None else native.labels.boxes.tolist()
                    for native in series.slices
                ]
            )
        assert found == expected
