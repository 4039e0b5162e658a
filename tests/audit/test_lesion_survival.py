"""Labels: lesions that are there survive, those that are wiped out do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from gates.drawn_heads import GLIOMA, SIDE, head, transplanted, warped, without_lesion
from medvae.auditing import Pool
from medvae.auditing._findings import SetFindings
from medvae.auditing._lesion_evidence import VisibilityRule, visibility_rules
from medvae.auditing.copies import NearestReal, nearest_real
from medvae.auditing.lesion_survival import Survival, lesion_survival
from medvae.geometry import Box
from medvae.records import Category, Finding, Labels
from medvae.render import Scene
from scenes import changed

REAL = tuple(range(8))
OTHERS = tuple(range(20, 28))

Change = Callable[[Scene], NDArray[np.float32]]


def key(seed: int, index: int) -> str:
    return f"{seed:02}.{index:02}"


class Drawn:
    """Heads as findings and as a pool."""

    def __init__(self) -> None:
        self.findings = SetFindings()
        self._pictures: list[NDArray[np.float32]] = []

    def add(self, name: str, seed: int, scene: Scene, sources: tuple[str, ...] = ()) -> None:
        picture = scene.picture()
        self._pictures.append(picture)
        self.findings.add(str(seed), name, (str(seed),), scene, picture, sources)

    @property
    def pool(self) -> Pool:
        slices = self.findings.slices
        groups, keys = tuple(one.groups for one in slices), tuple(one.key for one in slices)
        return Pool(np.stack(self._pictures), groups, keys)


def heads(seeds: Sequence[int], change: Change | None = None, declared: bool = False) -> Drawn:
    drawn = Drawn()
    for seed in seeds:
        for index, scene in enumerate(head(seed)):
            if change is not None and scene.labels:
                scene = changed(scene, values=change(scene))
            name = key(seed, index)
            drawn.add(f"s{name}" if change else name, seed, scene, (name,) if declared else ())
    return drawn


@cache
def real() -> Drawn:
    return heads(REAL)


def compared(synthetic: Drawn, nearest: bool = True) -> Survival:
    found = nearest_to(synthetic) if nearest else None
    return lesion_survival(real().findings, synthetic.findings, found, 0)


def nearest_to(synthetic: Drawn) -> NearestReal:
    pools = real().pool, synthetic.pool
    return nearest_real((pools[0].outlines, pools[1].outlines), *pools)


def untouched(scene: Scene) -> NDArray[np.float32]:
    return scene.values


HOW = pytest.mark.parametrize("how", ["declared", "nearest", "visibility"])


def judged(seeds: Sequence[int], change: Change, how: str) -> Survival:
    return compared(heads(seeds, change, how == "declared"), nearest=how == "nearest")


@HOW
def test_lesions_that_are_there_survive(how: str) -> None:
    found = judged(REAL, untouched, how)
    assert found.survival is not None
    assert found.survival.value > 0.98
    assert found.survival.low < found.survival.value
    assert found.survival.baseline == pytest.approx(1, abs=0.03)
    assert found.judged == {
        "declared": 0, "nearest": 0, "visibility": 0, "unjudged": 0, how: len(real().findings)
    }  # fmt: skip
    if how == "visibility":
        assert found.contrast is None
    else:
        assert found.contrast is not None
        assert found.contrast_low is not None
        assert found.contrast.value == pytest.approx(1)
        assert found.contrast_low.value == pytest.approx(1)
        assert found.lost == []


@HOW
def test_lesions_that_are_wiped_out_do_not(how: str) -> None:
    found = judged(REAL, without_lesion, how)
    assert found.survival is not None
    assert found.survival.value < 0.05
    assert found.survival.high < 0.5
    assert len(found.lost) > 0.9 * len(real().findings)
    assert found.judged[how] > 0.5 * len(real().findings)


def test_lesions_of_other_patients_survive_without_a_manifest() -> None:
    found = compared(heads(OTHERS))
    assert found.survival is not None
    assert found.survival.value > 0.9
    assert found.judged["visibility"] > 0.8 * sum(found.judged.values())


def test_lesions_of_other_patients_that_are_wiped_out_do_not() -> None:
    found = compared(heads(OTHERS, without_lesion))
    assert found.survival is not None
    assert found.survival.value < 0.1


def test_half_of_them_are_half() -> None:
    drawn = Drawn()
    for seed in REAL:
        for index, scene in enumerate(head(seed)):
            if scene.labels and index % 2:
                scene = changed(scene, values=without_lesion(scene))
            drawn.add(f"s{key(seed, index)}", seed, scene)
    wiped = sum(len(scene.labels) for seed in REAL for scene in head(seed)[1::2])
    found = compared(drawn, nearest=False)
    assert found.survival is not None
    assert found.survival.value == pytest.approx(1 - wiped / len(real().findings), abs=0.06)


def test_what_is_left_of_the_contrast() -> None:
    found = judged(REAL, lambda scene: without_lesion(scene, share=0.8), "declared")
    assert found.contrast is not None
    assert found.contrast_low is not None
    assert found.contrast.value == pytest.approx(0.8, abs=0.05)
    assert found.contrast_low.value <= found.contrast.value
    assert found.survival is not None
    assert found.survival.value > 0.95


def test_a_deformed_slice_is_compared_with_its_source() -> None:
    drawn = Drawn()
    for seed in REAL[:4]:
        for index in (4, 5, 6):
            made = warped(head(seed)[index], seed=seed)
            drawn.add(f"s{key(seed, index)}", seed, made.result, (key(seed, index),))
    found = compared(drawn)
    assert found.judged["declared"] == 12
    assert found.survival is not None
    assert found.survival.value == 1


def test_a_transplant_is_compared_with_its_donor() -> None:
    kept, gone = Drawn(), Drawn()
    for seed in REAL[:4]:
        host = REAL[(seed + 1) % 8]
        made = transplanted(head(seed)[5], head(host)[0])
        sources = key(seed, 5), key(host, 0)
        kept.add(f"s{seed}", host, made.result, sources)
        empty = changed(made.result, values=head(host)[0].values)
        gone.add(f"s{seed}", host, empty, sources)
    for drawn, survival in ((kept, 1), (gone, 0)):
        found = compared(drawn)
        assert found.judged["declared"] == 4
        assert found.survival is not None
        assert found.survival.value == survival


def test_sources_that_are_not_among_the_real_slices_do_not_matter() -> None:
    drawn = Drawn()
    for index, scene in enumerate(head(0)):
        drawn.add(f"s{index}", 0, scene, ("somewhere", "else"))
    found = compared(drawn)
    assert found.judged["declared"] == 0
    assert found.survival is not None
    assert found.survival.value > 0.95


class TestVisibility:
    def test_the_limit_tells_findings_from_mirrored_places(self) -> None:
        (rule,) = [visibility_rules(real().findings.slices)[GLIOMA.name]]
        assert rule is not None
        assert rule.sign == 1
        assert rule.found > 0.95
        assert rule.mistaken < 0.05

    def test_darker_lesions_have_the_other_sign(self) -> None:
        dark = Drawn()
        for seed in REAL[:4]:
            for index, scene in enumerate(head(seed)):
                mirrored = changed(scene, values=scene.values.max() - scene.values)
                dark.add(key(seed, index), seed, mirrored)
        rule = visibility_rules(dark.findings.slices)[GLIOMA.name]
        assert rule is not None
        assert rule.sign == -1

    def test_credits_add_up_to_the_share(self) -> None:
        rule = VisibilityRule(1, 0.5, found=0.8, mistaken=0.1)
        shown = [one for slice_ in real().findings.slices for one in slice_.findings]
        seen, credit = rule.credit(shown[10])
        assert seen
        assert credit == pytest.approx(0.9 / 0.7)
        assert 0.8 * credit + 0.2 * (0 - 0.1) / 0.7 == pytest.approx(1)

    def test_what_looks_like_its_surroundings_is_not_judged(self) -> None:
        hidden = heads(REAL, without_lesion).findings
        found = lesion_survival(hidden, hidden, None, 0)
        assert found.survival is None
        assert found.judged["unjudged"] == len(hidden)


class TestBoxes:
    def test_they_are_shares_of_the_canvas(self) -> None:
        drawn = Drawn()
        scene = head(0)[5]
        drawn.add("one", 0, changed(scene, labels=Labels((Finding(GLIOMA, Box(32, 16, 64, 48)),))))
        (box,) = drawn.findings.boxes("glioma")
        assert box.tolist() == [32 / SIDE, 16 / SIDE, 64 / SIDE, 48 / SIDE]
        assert drawn.findings.boxes("cyst").shape == (0, 4)

    def test_categories_that_one_set_lacks_have_no_survival(self) -> None:
        drawn = Drawn()
        cyst = Finding(Category("cyst"), head(0)[5].labels.findings[0].box)
        drawn.add("one", 0, changed(head(0)[5], labels=Labels((cyst,))))
        found = compared(drawn, nearest=False)
        assert [*found.categories] == ["cyst", "glioma"]
        assert found.categories["glioma"] is None


def test_limits_are_those_of_the_gates() -> None:
    assert real().findings.limits().measured["visibility"] == len(real().findings)
