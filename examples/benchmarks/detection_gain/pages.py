"""The results as files: JSON with everything, a table in Markdown, and a plot."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from medvae.atomic import write_bytes, write_text

from .cells import Record, read_records
from .results import summary

__all__ = ["write_plot", "write_results"]

_TITLES = {"report": "Reported folds", "dev": "Folds for choosing"}
_HEAD = (
    "| patients | arm | steps | classic | AP30 | AP50 | AP50 over classic | sensitivity at 1 | "
    "cells | VAE | augment | detector |"
)


def write_results(out: Path, setting: Mapping[str, Any], gain_of: str) -> dict[str, Any]:
    """Summarize the measured cells in ``results.json`` and ``table.md``.

    Args:
        out: Folder of the table.
        setting: Settings that its cells share.
        gain_of: Arm whose gain is reported.
    """
    records: list[Record] = list(read_records(out))
    results = {"setting": dict(setting), **summary(records, gain_of), "cells": records}
    write_text(out / "results.json", json.dumps(results, indent=1, allow_nan=False) + "\n")
    write_text(out / "table.md", "\n".join(_page(results, gain_of)) + "\n")
    return results


def _page(results: Mapping[str, Any], gain_of: str) -> Iterator[str]:
    for name, over in (("gain", "classic"), ("gain_over_negatives", "negatives")):
        for patients, metrics in results[name].items():
            yield f"- {gain_of} over {over}, {patients} patients: AP50 {_signed(metrics['ap50'])}"
    for stage, title in _TITLES.items():
        if results[stage]:
            yield from ("", f"## {title}", "", _HEAD, "|---" * _HEAD.count("| ") + "|")
            yield from map(_line, results[stage])


def _line(row: Mapping[str, Any]) -> str:
    seconds = row["seconds"]
    over = row["over_classic"]
    cells = (
        str(row["patients"]),
        row["arm"],
        str(row["steps"]),
        f"{row['classic']:g}",
        f"{row['ap30']['mean']:.3f}",
        f"{row['ap50']['mean']:.3f}",
        _signed(over["ap50"]) if over else "",
        f"{row['sensitivity']['1']:.3f}",
        str(row["ap50"]["cells"]),
        *(_seconds(seconds.get(name)) for name in ("vae", "augment", "detector")),
    )
    return f"| {' | '.join(cells)} |"


def _signed(figure: Mapping[str, Any]) -> str:
    if figure["low"] is None:
        return f"{figure['mean']:+.3f}"
    return f"{figure['mean']:+.3f} [{figure['low']:+.3f}, {figure['high']:+.3f}]"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} s"


def write_plot(out: Path, results: Mapping[str, Any]) -> None:
    """Plot AP50 against the number of patients, with each arm trained as chosen for it.

    If some arms are measured for several numbers of patients, the others are left out.
    """
    rows = [row for row in results["report"] or results["dev"] if row["chosen"]]
    if not rows:
        return
    measured = Counter(row["arm"] for row in rows)
    if max(measured.values()) > 1:
        rows = [row for row in rows if measured[row["arm"]] > 1]
    drawing = Figure(figsize=(8, 5))
    axes = drawing.subplots()
    for arm, own in groupby(sorted(rows, key=lambda row: row["arm"]), key=lambda row: row["arm"]):
        points = [(row["patients"], row["ap50"]) for row in own]
        means = [figure["mean"] for _, figure in points]
        reach = [(figure["high"] or figure["mean"]) - figure["mean"] for _, figure in points]
        patients = [count for count, _ in points]
        axes.errorbar(patients, means, yerr=reach, marker="o", capsize=3, label=arm)
    axes.set(
        xlabel="labelled patients", ylabel="AP50", xticks=sorted({r["patients"] for r in rows})
    )
    axes.grid(alpha=0.3)
    axes.legend()
    drawing.tight_layout()
    picture = io.BytesIO()
    drawing.savefig(picture, format="png", dpi=120)
    write_bytes(out / "ap50.png", picture.getvalue())
