"""Banks: what is in them, that they are shared, and what is wrong with others."""

from __future__ import annotations

import json
import pickle
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from heads import LESIONS, SECRETS, save_run
from medvae.errors import LabelError, ReadError, UsageProblem, WriteError
from medvae.readers import open_studies
from medvae.transforms import TransplantBank


def build(folder: Path, studies: Path, run: Path, **options: Any) -> TransplantBank:
    options = {"labels": studies / "coco.json", "model": run, **options}
    return TransplantBank.build(folder, [studies], **options)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


class TestBuild:
    def test_it_names_nobody(self, bank: Path, studies: Path) -> None:
        for name, data in content(bank).items():
            for secret in (*SECRETS, str(studies)):
                assert secret.encode() not in data, name

    def test_the_order_of_the_studies_does_not_matter(
        self, bank: Path, studies: Path, run: Path, tmp_path: Path
    ) -> None:
        folders = [studies / f"p{patient}" for patient in (3, 1, 0, 2)]
        other = tmp_path / "bank"
        TransplantBank.build(other, folders, labels=studies / "coco.json", model=run)
        assert content(other) == content(bank)

    def test_what_is_in_it(self, bank: Path, studies: Path) -> None:
        opened = TransplantBank.open(bank)
        assert len(opened) == LESIONS
        assert [category.name for category in opened.categories] == ["glioma"]
        assert opened.masked
        real = {s.key: s.pixels().values for s in open_studies([studies]).slices}
        for place, stored in enumerate(opened.slices):
            np.testing.assert_array_equal(opened.scene(place).values, real[stored.key])

    def test_padding(self, studies: Path, run: Path, tmp_path: Path) -> None:
        padded = tmp_path / "studies"
        shutil.copytree(studies, padded)
        for path in padded.glob("p2/*.dcm"):
            dataset = pydicom.dcmread(path)
            dataset.add_new("PixelPaddingValue", "US", 0)
            dataset.add_new("PixelPaddingRangeLimit", "US", 30)
            dataset.save_as(path)
        opened = build(tmp_path / "bank", padded, run)
        real = {s.key: s.pixels().padding for s in open_studies([padded]).slices}
        found = 0
        for place, stored in enumerate(opened.slices):
            padding, expected = opened.scene(place).padding, real[stored.key]
            if expected is None:
                assert padding is None
                continue
            np.testing.assert_array_equal(padding, expected)
            found += 1
        assert found

    def test_hosts_of_others(self, studies: Path, run: Path, tmp_path: Path) -> None:
        alone = [studies / "p0"]
        labels = studies / "coco.json"
        with pytest.raises(
            UsageProblem, match=r"no slice of another patient .* give some as hosts"
        ):
            TransplantBank.build(tmp_path / "none", alone, labels=labels, model=run)
        hosts = [studies / "p2"]
        opened = TransplantBank.build(
            tmp_path / "bank", alone, labels=labels, model=run, hosts=hosts
        )
        (group,) = {s.group for s in open_studies(hosts).slices}
        drawn = [opened.draw(seed, 1.0) for seed in range(8)]
        assert {made.host.group for made in drawn if made} == {group}

    def test_no_text_in_the_pixels(self, studies: Path, run: Path, tmp_path: Path) -> None:
        marked = tmp_path / "studies"
        shutil.copytree(studies, marked)
        for path in (marked / "p2").iterdir():
            dataset = pydicom.dcmread(path)
            dataset.BurnedInAnnotation = "YES"
            dataset.save_as(path)
        own = {native.group for native in open_studies([marked / "p2"]).slices}
        refused = build(tmp_path / "bank", marked, run)
        assert any("BurnedInAnnotation YES" in problem for problem in refused.problems)
        assert not own & {stored.group for stored in refused.slices}
        allowed = build(tmp_path / "allowed", marked, run, allow_burned_in=True)
        assert own & {stored.group for stored in allowed.slices}

    def test_only_what_can_be_decoded(self, studies: Path, run: Path, tmp_path: Path) -> None:
        shutil.copytree(studies, tmp_path / "studies")
        broken = sorted((tmp_path / "studies" / "p2").iterdir())[0]
        broken.write_bytes(broken.read_bytes()[:-3000])
        opened = build(tmp_path / "bank", tmp_path / "studies", run)
        assert any(str(broken) in problem for problem in opened.problems)
        assert len(opened) == LESIONS


class TestDraw:
    def test_donor_patients_are_drawn_alike(self, studies: Path, run: Path, tmp_path: Path) -> None:
        """Of one patient a single slice with a lesion is left, of the other there are two."""
        uneven = tmp_path / "studies"
        shutil.copytree(studies, uneven)
        document = json.loads((uneven / "coco.json").read_text())
        names = {image["id"]: image["file_name"] for image in document["images"]}
        (uneven / names[document["annotations"][0]["image_id"]]).unlink()
        opened = build(tmp_path / "bank", uneven, run)
        shares = {}
        for balance in ("patients", "slices"):
            made = [opened.draw(seed, 1.0, balance) for seed in range(200)]
            drawn = Counter(one.donor.group for one in made if one)
            shares[balance] = max(drawn.values()) / drawn.total()
        assert shares["patients"] < 0.58 < shares["slices"]

    def test_a_lesion_of_one_patient_in_a_slice_of_another(self, bank: Path) -> None:
        opened = TransplantBank.open(bank)
        made = [made for seed in range(20) if (made := opened.draw(seed, 1.0))]
        assert len(made) > 12
        assert len({one.rendered.values.tobytes() for one in made}) == len(made)
        for one in made:
            assert one.donor.group != one.host.group
            assert not one.scene.labels
            (finding,) = one.rendered.labels
            assert finding.mask
            changed = one.rendered.values != one.scene.values
            mask = finding.mask.on(one.host.shape)
            assert changed[mask].mean() > 0.9
            # All but the lesion and its feathered edge is the host's own.
            rows, columns = np.nonzero(changed)
            x0, y0, x1, y1 = finding.box
            assert min(columns) >= x0 - 4
            assert max(columns) < x1 + 4
            assert min(rows) >= y0 - 4
            assert max(rows) < y1 + 4
            around = one.rendered.values[~mask & ~changed]
            assert one.rendered.values[mask].mean() > np.percentile(around, 90)

    def test_the_same_seed_gives_the_same(self, bank: Path) -> None:
        one, other = (TransplantBank.open(bank).draw(5, 1.0) for _ in range(2))
        assert one
        assert other
        np.testing.assert_array_equal(one.rendered.values, other.rendered.values)
        assert one.rendered.labels == other.rendered.labels

    def test_pixels_are_shared_between_processes(self, bank: Path) -> None:
        opened = TransplantBank.open(bank)
        assert isinstance(opened.values, np.memmap)
        sent = pickle.dumps(opened)
        assert len(sent) < 1000
        assert len(pickle.loads(sent)) == len(opened)


class TestWrongUse:
    def test_no_finding(self, studies: Path, run: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageProblem, match="none of the slices has a finding"):
            TransplantBank.build(
                tmp_path / "bank", [studies / "p3"], labels=studies / "coco.json", model=run
            )

    def test_labels_of_other_slices(self, studies: Path, run: Path, tmp_path: Path) -> None:
        other = tmp_path / "other.json"
        images = [{"id": 1, "file_name": "elsewhere.dcm", "width": 9, "height": 9}]
        other.write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
        with pytest.raises(UsageProblem, match="none of its labels belongs to a slice"):
            build(tmp_path / "bank", studies, run, labels=other)
        with pytest.raises(LabelError, match="there is no such file"):
            build(tmp_path / "bank", studies, run, labels=tmp_path / "none.json")

    def test_a_held_out_patient(self, studies: Path, run: Path, tmp_path: Path) -> None:
        groups = sorted({s.group for s in open_studies([studies]).slices})
        split = tmp_path / "split.json"
        split.write_text(json.dumps({"training": groups[1:], "validation": groups[:1]}))
        with pytest.raises(
            UsageProblem,
            match=f"holds out 1 of the patients among the sources, such as {groups[0]}",
        ):
            build(tmp_path / "bank", studies, run, split=split)

    def test_another_modality(self, studies: Path, tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        run = save_run(tmp_path / "run", studies, ("CT",))
        with pytest.raises(UsageProblem, match="was trained on CT, not on MR"):
            build(tmp_path / "bank", studies, run)

    def test_a_folder_that_holds_something(self, bank: Path, studies: Path, run: Path) -> None:
        with pytest.raises(UsageProblem, match="is not empty"):
            build(bank, studies, run)

    def test_a_folder_that_cannot_be_written(
        self, studies: Path, run: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(WriteError, match="file/bank: cannot be written"):
            build(tmp_path / "file" / "bank", studies, run)

    def test_nothing_to_read(self, studies: Path, run: Path, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(ReadError, match="none of the files can be read"):
            build(tmp_path / "bank", tmp_path / "empty", run, labels=studies / "coco.json")

    def test_no_bank(self, tmp_path: Path) -> None:
        with pytest.raises(ReadError, match="holds no transplant bank: make one"):
            TransplantBank.open(tmp_path)

    @pytest.mark.parametrize(
        "damage",
        [
            lambda said: said["slices"].pop(),
            lambda said: said["slices"][0].update(shape=[64]),
            lambda said: said["slices"][0].update(findings=[{}]),
            lambda said: said["donors"][0]["hosts"]["0"].append(99),
            lambda said: said["donors"][0]["hosts"]["0"].clear(),
            lambda said: said["donors"][0].update(hosts={"7": [0]}),
            lambda said: said["donors"][0].update(hosts={"first": [0]}),
            lambda said: said["donors"][0].update(hosts={}),
            lambda said: said["donors"].clear(),
            lambda said: said["donors"][0].update(place="0"),
            lambda said: said["slices"][0].update(shape=[2**20, 2**20]),
            lambda said: said["slices"][0].update(key=7),
            lambda said: said["slices"][0]["intensity"].update(low=float("nan")),
            lambda said: said["slices"][0]["geometry"].update(spacing="ab"),
            lambda said: said.update(size=10**9),
            lambda said: said.pop("size"),
        ],
    )
    def test_a_damaged_index(
        self, bank: Path, tmp_path: Path, damage: Callable[[dict[str, Any]], object]
    ) -> None:
        copy = tmp_path / "bank"
        shutil.copytree(bank, copy)
        said = json.loads((copy / "bank.json").read_text())
        damage(said)
        (copy / "bank.json").write_text(json.dumps(said))
        with pytest.raises(ReadError, match="the transplant bank is damaged: build it anew"):
            TransplantBank.open(copy)

    @pytest.mark.parametrize("name", ["values.npy", "padding.npy"])
    def test_damaged_pixels(self, bank: Path, tmp_path: Path, name: str) -> None:
        copy = tmp_path / "bank"
        shutil.copytree(bank, copy)
        (copy / name).write_bytes((bank / name).read_bytes()[:-1])
        with pytest.raises(ReadError, match="is damaged: build it anew"):
            TransplantBank.open(copy)
        (copy / name).unlink()
        with pytest.raises(ReadError, match="holds no transplant bank"):
            TransplantBank.open(copy)

    def test_another_format(self, bank: Path, tmp_path: Path) -> None:
        copy = tmp_path / "bank"
        shutil.copytree(bank, copy)
        said = json.loads((copy / "bank.json").read_text())
        (copy / "bank.json").write_text(json.dumps({**said, "format": 1}))
        with pytest.raises(ReadError, match="'format' must be 2, but is 1"):
            TransplantBank.open(copy)
