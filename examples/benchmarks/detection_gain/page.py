"""The tables of the benchmark's page, computed from the cells that are stored beside it.

python -m examples.benchmarks.detection_gain.page
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from medvae.atomic import write_text

from .cells import Record, read_records
from .pages import write_plot, write_results
from .results import Measured, interval

__all__ = ["main", "page"]

_HERE = Path(__file__).parent
_PAGE = _HERE / "README.md"
_GAIN_OF = {"lgg_flair": "transplant", "cmr_sunnybrook": "warp"}
"""Arm whose gain is reported, for each folder of cells."""

_BASELINES = ("classic", "negatives", "transplant-nearest", "transplant-random", "field")
_FAMILIES = ({"transplant"}, {"warp", "field"})
"""Renders that are compared with one another."""

_ORDER = ("real", *_BASELINES)

_PART = re.compile(r"(<!-- (\w+): (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
"""Part of the page that is computed, marked with the stage and the folder of its cells."""


def main() -> None:
    """Rewrite the tables and the plot of the page."""
    write_text(_PAGE, page(_PAGE.read_text(encoding="utf-8")))
    for name, arm in _GAIN_OF.items():
        setting = json.loads((_HERE / name / "setting.json").read_text(encoding="utf-8"))
        write_plot(_HERE / name, write_results(_HERE / name, setting, arm))


def page(text: str) -> str:
    """Return the page with its tables recomputed."""

    def computed(part: re.Match[str]) -> str:
        records = [r for r in read_records(_HERE / part[3]) if r["cell"]["stage"] == part[2]]
        return f"{part[1]}\n{table(records)}\n\n{part[4]}"

    return _PART.sub(computed, text)


def table(records: Sequence[Record]) -> str:
    """Return a table of cells: each fold alone, and all folds together if there are several.

    Differences to a baseline that no row has are left out.
    """
    heads = (
        "fold",
        "patients",
        "steps",
        "strength",
        "arm",
        "cells",
        "AP30",
        "AP50",
        *(f"AP50 over `{name}`" for name in _BASELINES),
        "sensitivity at 1 a slice",
    )
    rows = list(_rows(records))
    shown = [
        place
        for place, head in enumerate(heads)
        if " over " not in head or any(row[place] for row in rows)
    ]
    lines = ([row[place] for place in shown] for row in (heads, ["---"] * len(heads), *rows))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _rows(records: Sequence[Record]) -> Iterator[Sequence[str]]:
    def way(record: Record) -> tuple[int, int, float]:
        cell = record["cell"]
        return cell["patients"], cell["steps"], cell["classic"]

    for key, alike in groupby(sorted(records, key=way), key=way):
        own = list(alike)
        folds = sorted({record["cell"]["fold"] for record in own})
        parts = [(str(fold), [r for r in own if r["cell"]["fold"] == fold]) for fold in folds]
        if len(folds) > 1:
            parts.append(("all", own))
        for name, part in parts:
            yield from _part(name, key, part)


def _part(
    fold: str, key: tuple[int, int, float], records: Sequence[Record]
) -> Iterator[Sequence[str]]:
    arms: dict[str, dict[tuple[int, int], Record]] = {}
    for record in records:
        cell = record["cell"]
        arms.setdefault(cell["arm"], {})[cell["fold"], cell["repeat"]] = record
    patients, steps, strength = key
    for arm in sorted(arms, key=_place):
        measured = list(arms[arm].values())
        yield (
            fold,
            str(patients),
            str(steps),
            f"{strength:g}",
            f"`{arm}`",
            str(len(measured)),
            _mean(measured, "ap30"),
            _mean(measured, "ap50"),
            *(_over(arms, arm, name) for name in _BASELINES),
            f"{sum(r['scores']['sensitivity']['1'] for r in measured) / len(measured):.3f}",
        )


def _place(arm: str) -> tuple[int, str]:
    return (_ORDER.index(arm) if arm in _ORDER else len(_ORDER), arm)


def _mean(records: Sequence[Record], metric: str) -> str:
    return f"{sum(record['scores'][metric] for record in records) / len(records):.3f}"


def _over(arms: Mapping[str, Measured], arm: str, baseline: str) -> str:
    """Return the paired difference to a baseline, with its interval if there are several pairs."""
    one, other = arms[arm], arms.get(baseline, {})
    pairs = sorted(one.keys() & other.keys())
    renders = {name.partition("-")[0] for name in (arm, baseline)}
    alike = baseline in _BASELINES[:2] or any(renders <= family for family in _FAMILIES)
    if arm in _ORDER[: _ORDER.index(baseline) + 1] or not alike or not pairs:
        return ""
    gain = interval(
        [one[pair]["scores"]["ap50"] - other[pair]["scores"]["ap50"] for pair in pairs], pairs
    )
    if gain["low"] is None:
        return f"{gain['mean']:+.3f}"
    return f"{gain['mean']:+.3f} ({gain['low']:.3f} to {gain['high']:.3f})"


if __name__ == "__main__":
    main()
