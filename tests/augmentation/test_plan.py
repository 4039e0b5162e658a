"""The plan: how many draws of which slices, in an order that arguments do not change."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import medvae
from medvae.augmentation._plan import Draw, Plan, plan
from medvae.augmentation._settings import Settings
from medvae.errors import UsageProblem
from medvae.labels import attach_labels
from medvae.readers import open_studies
from medvae.records import Slice, Study


def in_order(studies: Iterable[Study]) -> tuple[Slice, ...]:
    found = (native for study in studies for native in study.slices)
    return tuple(sorted(found, key=lambda native: native.order))


def make_settings(**changes: Any) -> Settings:
    """Return the settings of ``augment`` with its defaults, except for some changes."""
    known = inspect.signature(medvae.augment).parameters
    return Settings(**{one.name: known[one.name].default for one in fields(Settings)} | changes)


@pytest.fixture
def sources(studies: Path) -> tuple[Slice, ...]:
    return in_order(attach_labels(open_studies([studies]).studies, studies / "coco.json").studies)


def test_every_slice_has_its_copies(sources: tuple[Slice, ...]) -> None:
    planned = plan(sources, make_settings(copies=3), transplants=False)
    assert len(planned.draws) == 3 * 16
    assert len({draw.key for draw in planned.draws}) == 48
    assert max(len(batch.draws) for batch in planned.batches) == 16


def test_only_slices_with_findings(sources: tuple[Slice, ...]) -> None:
    draws = plan(sources, make_settings(), transplants=True).draws
    assert len(draws) == 4
    positive = {native.name for native in sources if native.labels}
    assert {draw.source for draw in draws} == positive


@pytest.mark.parametrize(("ratio", "count"), [(0.5, 8), (1.0, 16), (2.25, 36), (0.001, 1)])
def test_ratio_is_of_all_real_slices(sources: tuple[Slice, ...], ratio: float, count: int) -> None:
    for transplants in (False, True):
        assert len(plan(sources, make_settings(ratio=ratio), transplants).draws) == count


def counted(draws: Iterable[Draw], sources: Iterable[Slice]) -> Counter[str]:
    """Count the draws of each patient."""
    groups = {native.name: native.group for native in sources}
    return Counter(groups[draw.source] for draw in draws)


class TestBalance:
    """The first patient with lesions has one slice with a finding left, the other two."""

    @pytest.fixture
    def uneven(self, sources: tuple[Slice, ...]) -> tuple[Slice, ...]:
        dropped = next(item for item in sources if item.labels)
        return tuple(item for item in sources if item is not dropped)

    @pytest.mark.parametrize("per", ["slice", "study"])
    @pytest.mark.parametrize("copies", [1, 2, 3, 4, 5])
    def test_donor_patients_get_the_same_number(
        self, uneven: tuple[Slice, ...], copies: int, per: str
    ) -> None:
        settings = make_settings(copies=copies, per=per)
        draws = plan(uneven, settings, True).draws
        lesions = 3 if per == "slice" else 2
        assert len(draws) == len({draw.key for draw in draws}) == lesions * copies
        assert sorted(counted(draws, uneven).values()) == [
            lesions * copies // 2,
            (lesions * copies + 1) // 2,
        ]

    def test_slices_of_a_patient_get_the_same_number(self, uneven: tuple[Slice, ...]) -> None:
        draws = plan(uneven, make_settings(copies=4), True).draws
        assert sorted(Counter(draw.source for draw in draws).values()) == [3, 3, 6]

    @pytest.mark.parametrize(
        ("settings", "transplants"),
        [(make_settings(copies=4, balance="slices"), True), (make_settings(copies=4), False)],
    )
    def test_or_slices_do(
        self, uneven: tuple[Slice, ...], settings: Settings, transplants: bool
    ) -> None:
        draws = plan(uneven, settings, transplants).draws
        assert set(Counter(draw.source for draw in draws).values()) == {4}

    def test_fewer_draws_than_patients(self, uneven: tuple[Slice, ...]) -> None:
        planned = plan(uneven, make_settings(ratio=0.01), transplants=True)
        assert [len(batch.draws) for batch in planned.batches] == [1]


def test_another_order_of_arguments_gives_the_same_plan(studies: Path) -> None:
    folders = [studies / f"p{patient}" for patient in range(4)]
    plans = [
        plan(in_order(open_studies(order).studies), make_settings(ratio=1.5), False)
        for order in (folders, folders[::-1])
    ]
    assert plans[0] == plans[1]


def test_whole_series_are_batches(sources: tuple[Slice, ...]) -> None:
    planned = plan(sources, make_settings(per="study", copies=2), transplants=False)
    assert [len(batch.draws) for batch in planned.batches] == [4] * 8
    assert len({draw.series for draw in planned.draws}) == 8


def test_whole_lesions_are_batches(sources: tuple[Slice, ...]) -> None:
    planned = plan(sources, make_settings(per="study", copies=2), transplants=True)
    places = {native.name: native.place for native in sources}
    draws = planned.draws
    assert len(planned.batches) == 2 * 2
    assert len({draw.key for draw in draws}) == len({one.key for one in planned.batches}) == 4
    for draw in draws:
        assert draw.needed == tuple(name for name, _ in draw.lesion)
        assert [places[name] for name in draw.needed] == [1, 2]
        # The lesion grows from slice to slice.
        assert draw.source == draw.needed[-1]


@pytest.mark.parametrize("per", ["slice", "study"])
@pytest.mark.parametrize("transplants", [False, True])
def test_a_plan_can_be_written_and_read_back(
    sources: tuple[Slice, ...], tmp_path: Path, per: str, transplants: bool
) -> None:
    planned = plan(sources, make_settings(per=per, copies=2), transplants)
    planned.write(tmp_path / "plan.json")
    assert Plan.read(tmp_path / "plan.json") == planned


def test_another_seed_gives_other_names(sources: tuple[Slice, ...]) -> None:
    first, second = (plan(sources, make_settings(seed=seed), False).draws[0] for seed in (0, 1))
    assert first.key != second.key
    assert first.series != second.series


def test_without_findings_there_is_nothing_to_draw(studies: Path) -> None:
    with pytest.raises(UsageProblem, match="none of the slices has a finding"):
        plan(in_order(open_studies([studies]).studies), make_settings(), transplants=True)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"copies": 0}, "copies: must be 1 or more, but is 0"),
        ({"ratio": 0.0}, "ratio: must be above 0"),
        ({"strength": -1.0}, "strength: must be 0 or more"),
        ({"per": "patient"}, "per: must be slice or study"),
        ({"balance": "hospitals"}, "balance: unknown value 'hospitals'; choose from patients, sl"),
        ({"formats": ("jpeg",)}, "formats: unknown format 'jpeg'; choose from dicom, nifti, png"),
        ({"label_formats": ()}, "label_formats: no format is given"),
    ],
)
def test_choices_are_checked(choices: dict[str, object], message: str) -> None:
    with pytest.raises(UsageProblem, match=message):
        make_settings(**choices)
