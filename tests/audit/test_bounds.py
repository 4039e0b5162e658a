"""Bounds that a pipeline asks for."""

from __future__ import annotations

from typing import Any

import pytest

from medvae.auditing._verdict import broken_bounds, parse_bounds
from medvae.errors import UsageProblem

REPORT: dict[str, Any] = {
    "auc": {"value": 0.75, "low": 0.6, "high": 0.9, "baseline": 0.5},
    "lesion_survival": None,
    "features": {"judged": {"declared": 3}},
    "sets": {"real": {"modalities": ["MR"]}},
    "copies": {"value": None, "low": None, "high": None, "baseline": None},
}


def broken(text: str) -> tuple[str, ...]:
    return broken_bounds(parse_bounds([text]), REPORT)


@pytest.mark.parametrize(
    "text", ["auc>0.8", "auc < 0.75", "auc.low>=0.61", "features.judged.declared<3"]
)
def test_a_bound_that_holds_says_nothing(text: str) -> None:
    assert broken(text) == ()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("auc>0.7", "auc>0.7: auc is 0.75"),
        ("auc<=0.75", "auc<=0.75: auc is 0.75"),
        ("auc.baseline < .6", "auc.baseline < .6: auc.baseline is 0.5"),
        ("features.judged.declared<4", "features.judged.declared<4: features.judged.declared is 3"),
    ],
)
def test_a_broken_bound_is_told(text: str, what: str) -> None:
    assert broken(text) == (what,)


@pytest.mark.parametrize("name", ["lesion_survival", "lesion_survival.low", "copies"])
def test_what_could_not_be_measured_breaks_its_bound(name: str) -> None:
    assert broken(f"{name}>1") == (f"{name}>1: {name} could not be measured",)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("auc", "give a name, a sign and a number"),
        ("auc>high", "give a name, a sign and a number"),
        ("auc>nan", "give a name, a sign and a number"),
        ("acu>0.8", "the report has no 'acu'"),
        ("auc.median>0.8", "auc has no 'median'"),
        ("features.judged.declared.deep>0.8", "features.judged.declared has no 'deep'"),
        ("sets.real.modalities>0.8", "sets.real.modalities is not a number"),
        ("features>0.8", "features is not a number"),
    ],
)
def test_a_bound_that_cannot_be(text: str, what: str) -> None:
    with pytest.raises(UsageProblem, match=what):
        broken(text)
