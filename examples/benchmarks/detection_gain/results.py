"""Summary of the cells: the choices, the table, paired differences and costs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from scipy import stats

from .cells import Record

__all__ = ["Choices", "Measured", "choose", "interval", "summary"]

Config = tuple[int, float]
"""Number of training steps, and strength of the classic augmentation."""

Choices = dict[tuple[str, int], Config]
"""Best configuration for each arm and number of patients."""

Pair = tuple[int, int]
"""Fold and repeat; cells that share these have the same patients and the same test."""

Measured = Mapping[Pair, Record]

_METRICS = ("ap30", "ap50", "ap", "froc")
_CONFIDENCE = 0.95


def _table(records: Iterable[Record]) -> dict[tuple[str, int], dict[Config, dict[Pair, Record]]]:
    """Group cells of one stage by arm and number of patients, then by configuration."""
    table: defaultdict[tuple[str, int], defaultdict[Config, dict[Pair, Record]]]
    table = defaultdict(lambda: defaultdict(dict))
    for record in records:
        cell = record["cell"]
        row = table[cell["arm"], cell["patients"]]
        row[cell["steps"], cell["classic"]][cell["fold"], cell["repeat"]] = record
    return {key: dict(row) for key, row in table.items()}


def choose(records: Iterable[Record]) -> Choices:
    """Choose the best configuration on the dev folds for each arm and number of patients.

    Configurations are compared on the folds and repeats that all of them have. Of equally good
    ones, the one with fewer steps, then weaker augmentation, is chosen.
    """
    choices: Choices = {}
    dev = (record for record in records if record["cell"]["stage"] == "dev")
    for key, row in _table(dev).items():
        common = set.intersection(*(set(measured) for measured in row.values()))
        if not common:
            continue
        reached = {
            config: fmean(measured[pair]["scores"]["ap50"] for pair in sorted(common))
            for config, measured in row.items()
        }
        choices[key] = max(sorted(reached), key=lambda config: reached[config])
    return choices


def summary(records: Sequence[Record], gain_of: str) -> dict[str, Any]:
    """Summarize cells.

    Args:
        records: Records of all cells.
        gain_of: Arm that is compared with ``classic`` and ``negatives``.

    Returns:
        ``chosen``, the configuration of each arm; ``gain`` and ``gain_over_negatives`` by number of
        patients, from the reported folds alone; ``dev`` and ``report``, with a row for each arm,
        number of patients and configuration.
    """
    choices = choose(records)
    stages = {
        stage: _table(record for record in records if record["cell"]["stage"] == stage)
        for stage in ("dev", "report")
    }
    chosen: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for (arm, patients), (steps, classic) in sorted(choices.items()):
        chosen[arm][str(patients)] = {"steps": steps, "classic": classic}
    return {
        "chosen": chosen,
        "gain": _gains(stages["report"], choices, gain_of, "classic"),
        "gain_over_negatives": _gains(stages["report"], choices, gain_of, "negatives"),
        **{stage: _rows(table, choices) for stage, table in stages.items()},
    }


def _best(
    table: Mapping[tuple[str, int], Mapping[Config, Measured]],
    choices: Choices,
    arm: str,
    patients: int,
) -> Measured:
    """Return the cells of an arm in the chosen configuration, or in the only one."""
    row = table.get((arm, patients), {})
    if len(row) == 1:
        return next(iter(row.values()))
    return row.get(choices.get((arm, patients), (0, 0.0)), {})


def _gains(
    table: Mapping[tuple[str, int], Mapping[Config, Measured]],
    choices: Choices,
    arm: str,
    baseline: str,
) -> dict[str, Any]:
    gains = {}
    for patients in sorted({patients for _, patients in table}):
        one, other = (_best(table, choices, name, patients) for name in (arm, baseline))
        if pairs := sorted(one.keys() & other.keys()):
            gains[str(patients)] = _differences(one, other, pairs)
    return gains


def _differences(one: Measured, other: Measured, pairs: Sequence[Pair]) -> dict[str, Any]:
    return {
        metric: interval(
            [one[pair]["scores"][metric] - other[pair]["scores"][metric] for pair in pairs], pairs
        )
        for metric in _METRICS
    }


def _rows(
    table: Mapping[tuple[str, int], Mapping[Config, Measured]], choices: Choices
) -> list[dict[str, Any]]:
    rows = []
    for (arm, patients), row in sorted(table.items(), key=lambda entry: entry[0][::-1]):
        classic = _best(table, choices, "classic", patients)
        for (steps, strength), measured in sorted(row.items()):
            pairs = sorted(measured)
            records = [measured[pair] for pair in pairs]
            figures = {
                metric: interval([record["scores"][metric] for record in records], pairs)
                for metric in _METRICS
            }
            shared = sorted(measured.keys() & classic.keys())
            over = _differences(measured, classic, shared) if shared and arm != "classic" else None
            rows.append(
                {
                    "arm": arm,
                    "patients": patients,
                    "steps": steps,
                    "classic": strength,
                    "chosen": measured is _best(table, choices, arm, patients),
                    **figures,
                    "sensitivity": _means(record["scores"]["sensitivity"] for record in records),
                    "over_classic": over,
                    "seconds": _means(record["seconds"] for record in records),
                }
            )
    return rows


def interval(values: Sequence[float], pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return the mean of values and its confidence interval from Student's t distribution.

    Args:
        values: Values to average.
        pairs: Fold and repeat of each value.
    """
    mean, reach = fmean(values), math.nan
    if len(values) > 1:
        spread = stdev(values) / math.sqrt(len(values))
        reach = float(stats.t.ppf((1 + _CONFIDENCE) / 2, len(values) - 1)) * spread
    return {
        "mean": mean,
        "low": None if math.isnan(reach) else mean - reach,
        "high": None if math.isnan(reach) else mean + reach,
        "repeats": len({repeat for _, repeat in pairs}),
        "cells": len(values),
    }


def _means(entries: Iterable[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Return the mean of the known values of each entry, or None if none is known."""
    known: defaultdict[str, list[float]] = defaultdict(list)
    names: dict[str, None] = {}
    for entry in entries:
        for name, value in entry.items():
            names[name] = None
            if value is not None:
                known[name].append(value)
    return {name: fmean(known[name]) if known[name] else None for name in names}
