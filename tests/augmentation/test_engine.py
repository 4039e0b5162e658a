"""Stages run on any engine: in other processes, in any order, with the same bytes."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from medvae.augmentation import _engine, augment
from medvae.augmentation._engine import LocalEngine
from outcomes import tree

T = TypeVar("T")
R = TypeVar("R")


class PickledEngine(LocalEngine):
    """Engine that sends stages and items through pickle, and runs the items backwards."""

    def run(
        self, stage: Callable[[T], R], items: Sequence[T], finish: Callable[[int, R], None]
    ) -> Iterator[int]:
        """Apply a copy of a stage to copies of its items, the last one first."""
        stage, copies = pickle.loads(pickle.dumps((stage, list(items))))
        results = [stage(item) for item in reversed(copies)]
        for index, result in enumerate(reversed(results)):
            finish(index, pickle.loads(pickle.dumps(result)))
            yield index


@pytest.mark.parametrize(
    "choices",
    [
        {"render": "warp", "merge": True},
        {"render": "transplant", "copies": 2},
        {"render": "transplant+warp", "per": "study"},
        {"render": "warp", "per": "study", "sampler": "interpolate"},
    ],
    ids=lambda choices: "-".join(map(str, choices.values())),
)
def test_another_engine_gives_the_same_bytes(
    volumes: Path,
    volume_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    choices: dict[str, Any],
) -> None:
    def made(out: Path) -> dict[str, bytes]:
        augment([volumes], volume_run, out, labels=volumes / "coco.json", **choices)
        return tree(out)

    first = made(tmp_path / "threads")
    monkeypatch.setattr(_engine, "LocalEngine", PickledEngine)
    second = made(tmp_path / "pickled")
    assert first == second
    assert any(name.startswith("images/") for name in first)
