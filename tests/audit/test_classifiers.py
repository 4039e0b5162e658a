"""Two-sample classifiers: known answers, and what they may not know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pools import pool
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import nn

from medvae.auditing import Estimate, Pool, feature_classifier
from medvae.auditing._features import extract, pixel_features
from medvae.auditing._separation import Score, planned_halves
from medvae.auditing.feature_classifier import tell_features_apart
from medvae.auditing.small_network import (
    PublishedNetwork,
    as_input,
    score,
    tell_apart,
    train,
)
from medvae.errors import UsageProblem

REAL = pool(range(12))
OTHERS = pool(range(20, 32))
Rows = Sequence[NDArray[np.float32]]
CPU = torch.device("cpu")


def by_features(real: Pool, synthetic: Pool, splits: int = 3) -> Estimate:
    features = [extract(pixel_features, of) for of in (real, synthetic)]
    return tell_features_apart(real, features[0], synthetic, features[1], 0, splits)


class TestPublishedNetwork:
    def test_it_is_as_published(self) -> None:
        network = PublishedNetwork(32).eval()
        plain = nn.Sequential(
            network.first, nn.ReLU(), nn.MaxPool2d(2),
            network.second, nn.ReLU(), nn.MaxPool2d(2),
            nn.Dropout(0.2), nn.Flatten(), network.hidden, nn.ReLU(), network.out,
        ).eval()  # fmt: skip
        x = as_input(REAL.pictures[:5])
        with torch.no_grad():
            assert network(x) == pytest.approx(plain(x.contiguous())[:, 0], abs=1e-6)
        shapes = {name: list(weight.shape) for name, weight in network.named_parameters()}
        assert shapes["first.weight"] == [4, 1, 3, 3]
        assert shapes["second.weight"] == [8, 4, 3, 3]
        assert shapes["hidden.weight"] == [64, 8 * 8 * 8]
        assert shapes["out.weight"] == [1, 64]

    def test_it_sees_each_slice_once_an_epoch_in_batches_of_16(self) -> None:
        steps: list[int] = []
        one, other = list(REAL.pictures[:20]), list(OTHERS.pictures[:15])
        train(one, other, 0, epochs=2, device=CPU, step=steps.append)
        assert steps == [16, 16, 3] * 2

    def test_slices_are_scored_alike_alone_and_together(self) -> None:
        network = PublishedNetwork(32).eval()
        together = score(network, list(REAL.pictures[:20]), CPU)
        alone = [score(network, [REAL.pictures[row]], CPU)[0] for row in range(20)]
        assert together == pytest.approx(alone, abs=1e-6)


class TestKnownAnswers:
    def test_slices_of_other_patients_are_not_told_apart(self) -> None:
        small = tell_apart(REAL, OTHERS, 0, epochs=2, splits=0)
        for found in (small, by_features(REAL, OTHERS)):
            assert found.low < 0.5 < found.high
            assert found.value == pytest.approx(0.5, abs=0.25)

    def test_blurred_slices_are_told_apart(self) -> None:
        drawn = pool(range(20), slices=10)
        blurred = pool(range(20), slices=10, blur=2, name="s")
        found = tell_apart(drawn, blurred, 0, splits=1)
        assert found.value > 0.95
        assert found.high > found.value > found.low
        assert found.baseline is not None
        assert found.baseline < 0.75

    def test_blurred_slices_are_told_apart_by_their_features(self) -> None:
        assert by_features(REAL, pool(range(20, 32), blur=1)).value > 0.95

    def test_slices_are_not_told_from_themselves(self) -> None:
        same = replace(REAL, keys=tuple(f"s{key}" for key in REAL.keys))
        assert by_features(REAL, same).value == pytest.approx(0.5, abs=0.01)


class TestFolds:
    def test_a_patient_who_is_learnt_from_is_not_scored(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A score that knows its patients must not tell anything of the sets."""
        seen: list[tuple[set[int], set[int]]] = []

        def fit(real: Rows, synthetic: Rows, key: object) -> Score:
            learnt = {int(row) // 6 for row in (*real, *synthetic)}
            seen.append((learnt, set()))

            def judge(rows: Rows) -> NDArray[np.float64]:
                seen[-1][1].update(int(row) // 6 for row in rows)
                return np.zeros(len(rows))

            return judge

        monkeypatch.setattr(feature_classifier, "_fit", fit)
        same = replace(REAL, keys=tuple(f"s{key}" for key in REAL.keys))
        rows = np.arange(len(REAL), dtype=np.float32)
        tell_features_apart(REAL, rows, same, rows, 0, 3)
        assert len(seen) == 2 * 4
        assert all(learnt and scored and not learnt & scored for learnt, scored in seen)

    def test_the_area_is_the_mean_of_both_halves(self) -> None:
        blurred = pool(range(12), blur=0.4, name="s")
        found = by_features(REAL, blurred, splits=0)
        features = [extract(pixel_features, of).astype(float) for of in (REAL, blurred)]
        (halves,) = planned_halves(REAL, blurred, 0, 0)
        areas = []
        for side, other in ((0, 1), (1, 0)):
            rows = halves.real[side], halves.synthetic[side]
            x = np.concatenate([f[r] for f, r in zip(features, rows, strict=True)])
            spread = x.std(0)
            scaled = (x - x.mean(0)) / np.where(spread > 0, spread, 1)
            truth = np.repeat((0, 1), [len(r) for r in rows])
            model = LogisticRegression(max_iter=2000).fit(scaled, truth)
            rows = halves.real[other], halves.synthetic[other]
            y = np.concatenate([f[r] for f, r in zip(features, rows, strict=True)])
            y = (y - x.mean(0)) / np.where(spread > 0, spread, 1)
            areas.append(
                roc_auc_score(
                    np.repeat((0, 1), [len(r) for r in rows]), model.predict_proba(y)[:, 1]
                )
            )
        assert found.value == pytest.approx(np.mean(areas), abs=1e-3)
        assert found.baseline is None

    def test_sets_are_balanced(self) -> None:
        few = pool(range(12), slices=2, blur=1, name="s")
        (halves,) = planned_halves(REAL, few, 0, 0)
        assert [*map(len, halves.real)] == [*map(len, halves.synthetic)] == [12, 12]

    def test_the_order_of_slices_does_not_matter(self) -> None:
        blurred = pool(range(12), blur=0.5, name="s")
        back = Pool(blurred.pictures[::-1], blurred.groups[::-1], blurred.keys[::-1])
        found = [tell_apart(REAL, of, 3, epochs=1, splits=0) for of in (blurred, back)]
        assert found[0] == found[1]

    def test_progress_comes_to_its_end(self) -> None:
        told: list[tuple[str, int, int, str]] = []
        tell_apart(REAL, OTHERS, 0, epochs=2, splits=2, progress=lambda *done: told.append(done))
        assert told[-1] == ("Training classifiers", 576, 576, "")
        assert 576 == 2 * (144 + 2 * 72)
        assert [done for _, done, _, _ in told] == sorted(done for _, done, _, _ in told)


def test_one_patient_cannot_be_split() -> None:
    with pytest.raises(UsageProblem, match="the real slices cannot be split by patient"):
        by_features(pool([1]), REAL)
    with pytest.raises(UsageProblem, match="the synthetic slices cannot be split by patient"):
        tell_apart(REAL, pool([1], name="s"), 0)
