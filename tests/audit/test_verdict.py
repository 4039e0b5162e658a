"""The verdict that numbers lead to."""

from __future__ import annotations

from typing import Any

import pytest

from medvae.auditing._page import at, formatted
from medvae.auditing._verdict import judge

Estimate = dict[str, float | None]


def estimate(value: float, baseline: float | None = None, spread: float = 0.02) -> Estimate:
    return {"value": value, "low": value - spread, "high": value + spread, "baseline": baseline}


def _difference(copies: Estimate) -> Estimate:
    """Return an estimate minus its baseline."""
    base = copies["baseline"] or 0
    ends = {name: copies[name] - base for name in ("value", "low", "high")}
    return {**ends, "baseline": None}


def report(**changes: Any) -> dict[str, Any]:
    """Return the numbers of a set that could hardly be better, with changes."""
    numbers = {
        "lesion_survival": estimate(0.98, 1.0),
        "copies": estimate(0.0, 0.0),
        "auc": estimate(0.52, 0.5),
        "stronger": estimate(0.6, 0.55),
        "differ": estimate(0.01, 0.0),
        "precision": estimate(0.95, 0.95),
        "coverage": estimate(0.9, 0.92),
    } | changes
    return {
        "lesion_survival": numbers["lesion_survival"],
        "copies": {**numbers["copies"], "excess": _difference(numbers["copies"])},
        "auc": numbers["auc"],
        "feature_auc": {"encoder": numbers["stronger"]},
        "features": {
            "encoder": {
                "differing": numbers["differ"],
                "precision": numbers["precision"],
                "coverage": numbers["coverage"],
            }
        },
    }


def test_a_set_like_the_real_one_is_green() -> None:
    verdict = judge(report(), None)
    assert verdict.mark == "green"
    assert {row.mark for row in verdict.rows} == {"green"}
    assert not verdict.advice
    assert "98 % (96 to 100 %) of its labelled findings are still there" in verdict.words


@pytest.mark.parametrize(
    ("name", "value", "mark", "overall"),
    [
        ("lesion_survival", 0.9, "amber", "amber"),
        ("lesion_survival", 0.5, "red", "red"),
        ("copies", 0.04, "amber", "amber"),
        ("copies", 0.2, "red", "red"),
        ("auc", 0.99, "red", "amber"),
        ("stronger", 0.8, "amber", "amber"),
        ("differ", 0.6, "red", "amber"),
        ("precision", 0.3, "red", "amber"),
        ("coverage", 0.5, "amber", "amber"),
    ],
)
def test_each_number_has_its_bounds_and_its_remedy(
    name: str, value: float, mark: str, overall: str
) -> None:
    verdict = judge(report(**{name: estimate(value)}), {})
    assert [row.mark for row in verdict.rows].count("green") == 6
    assert mark in [row.mark for row in verdict.rows]
    assert verdict.mark == overall
    assert len(verdict.advice) == 1


@pytest.mark.parametrize(
    ("found", "mark"),
    [
        (estimate(0.98, 0.51), "red"),
        (estimate(1.0, 0.6, spread=0.1), "red"),
        (estimate(0.98, 0.51, spread=0.2), "amber"),  # few patients
        (estimate(0.98, 0.85), "amber"),  # real slices are told apart, too
        (estimate(0.98), "amber"),  # nobody knows whether they are
        (estimate(0.74, 0.51, spread=0.05), "amber"),  # what good transforms give
        (estimate(0.93, 0.51), "amber"),
    ],
)
def test_what_is_told_apart_at_a_glance_is_red(found: Estimate, mark: str) -> None:
    numbers = report(auc=found)
    numbers["lesion_survival"]["contrast"] = estimate(0.68)
    verdict = judge(numbers, {"render": "decode"})
    assert verdict.mark == mark
    (row,) = (row for row in verdict.rows if row.name == "Small network")
    assert row.decisive == (mark == "red")
    if mark == "red":
        assert verdict.words.startswith("Do not train with this set without looking at it: even a")
        assert "They keep 68 % (66 to 70 %) of their contrast." in verdict.words
        assert "smoother than any scan" in verdict.advice[0]


@pytest.mark.parametrize(
    ("value", "baseline", "mark"),
    [(0.104, 0.103, "green"), (0.14, 0.103, "amber"), (0.3, 0.103, "red"), (0.08, 0.0, "red")],
)
def test_copies_are_judged_by_their_difference_from_real_slices(
    value: float, baseline: float, mark: str
) -> None:
    verdict = judge(report(copies=estimate(value, baseline)), {})
    assert verdict.mark == mark
    assert f"by the same measure, {100 * baseline:.0f} % of the real slices are" in verdict.words


def test_what_real_slices_do_no_better_is_green() -> None:
    numbers = report(auc=estimate(0.88, 0.85), coverage=estimate(0.3, 0.35))
    assert judge(numbers, None).mark == "green"


def test_what_could_not_be_measured_is_said() -> None:
    verdict = judge(report(lesion_survival=None), None)
    assert verdict.rows[0].mark is None
    assert verdict.mark == "amber"
    assert "could not be measured" in verdict.words
    assert "give the labels of the synthetic slices" in verdict.advice[0]


def test_advice_knows_the_render() -> None:
    blurred = report(auc=estimate(0.99, 0.5), lesion_survival=estimate(0.2, 1.0))
    verdict = judge(blurred, {"render": "decode"})
    assert "instead of decode" in verdict.advice[0]
    assert "smoother than any scan" in verdict.advice[1]


def test_the_worst_features_are_judged() -> None:
    numbers = report()
    numbers["feature_auc"]["pixels"] = estimate(0.97, 0.5)
    numbers["features"]["pixels"] = {"precision": None, "coverage": estimate(0.1, 0.9)}
    rows = {row.name: row for row in judge(numbers, None).rows}
    assert rows["Stronger classifier"].path == "feature_auc.pixels"
    assert rows["Coverage"].extractor == "pixels"
    assert rows["Precision"].extractor == "encoder"
    assert [rows[name].mark for name in ("Stronger classifier", "Coverage")] == ["red", "red"]


def test_what_is_not_sure_is_not_red() -> None:
    for name, value in (("lesion_survival", 0.7), ("copies", 0.08), ("auc", 0.85)):
        sure, unsure = (
            [r.mark for r in judge(report(**{name: estimate(value, spread=s)}), None).rows]
            for s in (0.01, 0.2)
        )
        assert sure.count("red") == unsure.count("amber") == 1
        assert "red" not in unsure


def test_few_real_lesions_excuse_no_lost_ones() -> None:
    assert judge(report(lesion_survival=estimate(0.6, 0.5)), None).mark == "red"


def test_a_wide_interval_is_told() -> None:
    verdict = judge(report(auc=estimate(0.5, 0.5, spread=0.4)), None)
    assert "the patients are few" in verdict.words


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "not measured"),
        (3, "3"),
        (0.12345, "0.123"),
        (0.00012, "1.2e-04"),
        (123.456, "123.5"),
        (estimate(0.5, spread=0.25), "0.500 (0.250 to 0.750)"),
        ({"value": 0.5, "low": None, "high": None, "baseline": None}, "0.500"),
    ],
)
def test_numbers_are_said_alike(number: Any, text: str) -> None:
    assert formatted(number) == text


@pytest.mark.parametrize(
    ("path", "found"),
    [("a", {"b.c": {"d": 1}, "b": 2}), ("a.b.c.d", 1), ("a.b", 2), ("a.b.e", None), ("e.a", None)],
)
def test_names_may_hold_points(path: str, found: object) -> None:
    assert at({"a": {"b.c": {"d": 1}, "b": 2}}, path) == found
