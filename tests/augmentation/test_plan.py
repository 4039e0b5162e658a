"""The plan: how many draws of which slices, in an order that arguments do not change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from medvae.augmentation import Settings
from medvae.augmentation._plan import Draw, plan
from medvae.augmentation._sources import Located, located
from medvae.errors import UsageProblem
from medvae.labels import attach_labels
from medvae.readers import open_studies


@pytest.fixture
def sources(studies: Path) -> tuple[Located, ...]:
    return located(attach_labels(open_studies([studies]).studies, studies / "coco.json").studies)


def test_every_slice_has_its_copies(sources: tuple[Located, ...]) -> None:
    batches = plan(sources, Settings(copies=3), transplants=False)
    draws = [draw for batch in batches for draw in batch.draws]
    assert len(draws) == 3 * 16
    assert len({draw.key for draw in draws}) == 48
    assert max(len(batch.draws) for batch in batches) == 16


def test_only_slices_with_findings(sources: tuple[Located, ...]) -> None:
    batches = plan(sources, Settings(), transplants=True)
    assert sum(len(batch.draws) for batch in batches) == 4
    assert all(draw.source.native.labels for batch in batches for draw in batch.draws)


@pytest.mark.parametrize(("ratio", "count"), [(0.5, 8), (1.0, 16), (2.25, 36), (0.001, 1)])
def test_ratio_is_of_all_real_slices(
    sources: tuple[Located, ...], ratio: float, count: int
) -> None:
    for transplants in (False, True):
        batches = plan(sources, Settings(ratio=ratio), transplants)
        assert sum(len(batch.draws) for batch in batches) == count


def counted(draws: Iterable[Draw]) -> Counter[str]:
    """Count the draws of each patient."""
    return Counter(draw.source.native.group for draw in draws)


class TestBalance:
    """The first patient with lesions has one slice with a finding left, the other two."""

    @pytest.fixture
    def uneven(self, sources: tuple[Located, ...]) -> tuple[Located, ...]:
        dropped = next(item for item in sources if item.native.labels)
        return tuple(item for item in sources if item is not dropped)

    @pytest.mark.parametrize("per", ["slice", "study"])
    @pytest.mark.parametrize("copies", [1, 2, 3, 4, 5])
    def test_donor_patients_get_the_same_number(
        self, uneven: tuple[Located, ...], copies: int, per: str
    ) -> None:
        settings = Settings(copies=copies, per=per)
        draws = [d for batch in plan(uneven, settings, True) for d in batch.draws]
        lesions = 3 if per == "slice" else 2
        assert len(draws) == len({draw.key for draw in draws}) == lesions * copies
        assert sorted(counted(draws).values()) == [
            lesions * copies // 2,
            (lesions * copies + 1) // 2,
        ]

    def test_slices_of_a_patient_get_the_same_number(self, uneven: tuple[Located, ...]) -> None:
        draws = [d for batch in plan(uneven, Settings(copies=4), True) for d in batch.draws]
        assert sorted(Counter(draw.source for draw in draws).values()) == [3, 3, 6]

    @pytest.mark.parametrize(
        ("settings", "transplants"),
        [(Settings(copies=4, balance="slices"), True), (Settings(copies=4), False)],
    )
    def test_or_slices_do(
        self, uneven: tuple[Located, ...], settings: Settings, transplants: bool
    ) -> None:
        draws = [d for batch in plan(uneven, settings, transplants) for d in batch.draws]
        assert set(Counter(draw.source for draw in draws).values()) == {4}

    def test_fewer_draws_than_patients(self, uneven: tuple[Located, ...]) -> None:
        batches = plan(uneven, Settings(ratio=0.01), transplants=True)
        assert [len(batch.draws) for batch in batches] == [1]


def test_another_order_of_arguments_gives_the_same_plan(studies: Path) -> None:
    folders = [studies / f"p{patient}" for patient in range(4)]
    plans = [
        plan(located(open_studies(order).studies), Settings(ratio=1.5), False)
        for order in (folders, folders[::-1])
    ]
    keys = [[draw.key for batch in batches for draw in batch.draws] for batches in plans]
    assert keys[0] == keys[1]


def test_whole_series_are_batches(sources: tuple[Located, ...]) -> None:
    batches = plan(sources, Settings(per="study", copies=2), transplants=False)
    assert [len(batch.draws) for batch in batches] == [4] * 8
    assert len({draw.series_key for batch in batches for draw in batch.draws}) == 8


def test_whole_lesions_are_batches(sources: tuple[Located, ...]) -> None:
    batches = plan(sources, Settings(per="study", copies=2), transplants=True)
    assert len(batches) == 2 * 2
    draws = [draw for batch in batches for draw in batch.draws]
    assert len({draw.key for draw in draws}) == len({batch.key for batch in batches}) == 4
    for draw in draws:
        assert draw.lesion is not None
        assert draw.decoded == tuple(item for item, _ in draw.lesion.sections)
        assert [item.place for item in draw.decoded] == [1, 2]
        # The lesion grows from slice to slice.
        assert draw.source is draw.decoded[-1]


def test_another_seed_gives_other_names(sources: tuple[Located, ...]) -> None:
    first, second = (plan(sources, Settings(seed=seed), False)[0].draws[0] for seed in (0, 1))
    assert first.key != second.key
    assert first.series_key != second.series_key


def test_without_findings_there_is_nothing_to_draw(studies: Path) -> None:
    with pytest.raises(UsageProblem, match="none of the slices has a finding"):
        plan(located(open_studies([studies]).studies), Settings(), transplants=True)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"copies": 0}, "copies must be 1 or more, but is 0"),
        ({"ratio": 0.0}, "ratio must be above 0"),
        ({"strength": -1.0}, "strength must be 0 or more"),
        ({"per": "patient"}, "per must be slice or study"),
        ({"balance": "hospitals"}, "balance: unknown value 'hospitals'; choose from patients, sl"),
        ({"formats": ("jpeg",)}, "format jpeg: there is none; give any of nifti, png, dicom"),
        ({"label_formats": ()}, "label format nothing"),
    ],
)
def test_choices_are_checked(choices: dict[str, object], message: str) -> None:
    with pytest.raises(UsageProblem, match=message):
        Settings(**choices)  # type: ignore[arg-type]
