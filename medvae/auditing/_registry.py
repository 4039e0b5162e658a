"""The statistics of the audit, in the order of the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from medvae.auditing._statistic import Rule, Statistic

_LOOKS_DIFFERENT = (
    "The slices look different. Lower the strength of the augmentation, or try another render. If "
    "lesions survive, a detector may still gain: train it with and without the set.",
    "The slices look different. A decoded slice is smoother than any scan: render with warp, "
    "residual or transplant.",
)


@dataclass(frozen=True)
class _SurvivalRule(Rule):
    """Rule that also advises on slices whose sources are unknown."""

    def changes(self, mark: str | None, augmentation: Mapping[str, Any] | None) -> Iterator[str]:
        yield from super().changes(mark, augmentation)
        if augmentation is None and mark != "green":
            yield (
                "The sources of these slices are unknown. For slices of 'medvae augment', give its "
                "output folder, whose manifest names them; for others, give the labels of the "
                "synthetic slices."
            )


@dataclass(frozen=True)
class _NetworkRule(Rule):
    """Rule that is decisive if the network is right almost every time.

    It is so from an area under the curve of 0.95. A few patients prove nothing, so the lower end of
    the interval must be 0.85 or more, and 0.20 above the area for real slices of other patients.
    """

    def decides(self, found: Mapping[str, Any]) -> bool:
        value, low, baseline = found["value"], found["low"], found["baseline"]
        if low is None or baseline is None:
            return False
        return bool(value >= 0.95 and low >= max(0.85, baseline + 0.20))


_ALL = (
    Statistic(
        name="lesion_survival",
        module="medvae.auditing.lesion_survival",
        title="Do findings still contain a lesion?",
        explanation=(
            "A finding survives if its box still has the contrast, the visibility and the "
            "structure that the same finding keeps from one real slice to the next. The contrast "
            "that is kept is given as a fraction of that of the source. Where no source is known, "
            "what is visible at the place is compared with real findings, and with places without "
            "a finding."
        ),
        numbers={
            "": "Share of the findings that still contain a lesion",
            "contrast": "Contrast that findings keep, median",
            "contrast_low": "Contrast that findings keep, 5th percentile",
            "categories.*": "Share of the findings of this category that still contain a lesion",
        },
        rules=(
            _SurvivalRule(
                name="Lesion survival",
                green=0.95,
                amber=0.80,
                high_is_good=True,
                decisive=True,
                advice=(
                    "Findings were lost. Lower the strength of the augmentation, look at the lost "
                    "findings below, and take their slices out of the training set.",
                    "Findings were lost. Render with transplant or warp, which keep the real "
                    "pixels of a lesion, instead of decode.",
                ),
            ),
        ),
    ),
    Statistic(
        name="copies",
        module="medvae.auditing.copies",
        title="Are slices copied?",
        explanation=(
            "A synthetic slice is as near to a real one as a copy if their distance is below a "
            "limit that hardly any real slice falls below for another patient. That is expected "
            "for the slices it was made from (a transplant is its host except for the lesion) and "
            "for their neighbours. It counts as a copy only if the real slice shows a patient whom "
            "the synthetic slice does not declare."
        ),
        numbers={
            "": "Share of the slices that are as near as a copy to an undeclared patient",
            "excess": "Their share minus that of the real slices",
        },
        rules=(
            Rule(
                name="Copies",
                green=0.01,
                amber=0.05,
                decisive=True,
                excess="excess",
                advice=(
                    "Some slices show a patient whom they do not declare: look at the pairs below. "
                    "If they are copies, leave them out of the set, or declare that patient and "
                    "keep them on that patient's side of a split.",
                ),
            ),
        ),
    ),
    Statistic(
        name="auc",
        module="medvae.auditing.small_network",
        title="Can a small network tell the sets apart?",
        explanation=(
            "An area under the curve (AUC) of 0.5 is guessing, 1 is always right. The network "
            "learns from half of the patients and is scored on the others. A detector may see the "
            "same differences, but the AUC does not say whether they matter to it."
        ),
        numbers={"": "AUC of the small network: 0.5 is guessing, 1 is always right"},
        rules=(
            _NetworkRule(
                name="Small network",
                green=0.60,
                amber=0.80,
                slack=0.10,
                opening="Do not train with this set without looking at it: even a small network "
                "tells its slices from real ones almost every time.",
                advice=_LOOKS_DIFFERENT,
            ),
        ),
    ),
    Statistic(
        name="feature_auc",
        module="medvae.auditing.feature_classifier",
        title="Can a classifier on features tell the sets apart?",
        explanation=(
            "Logistic regression on features is trained and scored on the same halves of the "
            "patients as the small network. With many features it is the stronger classifier."
        ),
        numbers={"*": "AUC of logistic regression on features"},
        rules=(
            Rule(
                name="Stronger classifier",
                green=0.70,
                amber=0.90,
                path="*",
                slack=0.10,
                advice=_LOOKS_DIFFERENT,
            ),
        ),
    ),
    Statistic(
        name="features",
        module="medvae.auditing.feature_comparison",
        title="How near are the sets to each other?",
        explanation=(
            "The means of each feature are compared by a t-test, in which each patient counts "
            "once. A synthetic slice is near a real one if that one's fifth neighbour among the "
            "real slices is farther away. These shares depend on the features and on the number of "
            "slices: compare them with their baseline, never with those of another report."
        ),
        numbers={
            "*.differing": "Share of the features whose mean differs, corrected for their number",
            "*.precision": "Share of the synthetic slices that lie where real ones do",
            "*.coverage": "Share of the real slices with a synthetic one near; low without variety",
        },
        rules=(
            Rule(
                name="Features that differ",
                green=0.05,
                amber=0.30,
                path="*.differing",
                slack=0.05,
                advice=_LOOKS_DIFFERENT,
            ),
            Rule(
                name="Precision",
                green=0.90,
                amber=0.60,
                path="*.precision",
                slack=0.10,
                high_is_good=True,
                advice=_LOOKS_DIFFERENT,
            ),
            Rule(
                name="Coverage",
                green=0.80,
                amber=0.40,
                path="*.coverage",
                slack=0.15,
                high_is_good=True,
                advice=(
                    "Real slices have no synthetic slice near them. Augment more patients, include "
                    "slices without findings, or raise the strength of the augmentation.",
                ),
            ),
        ),
    ),
)

STATISTICS = {statistic.name: statistic for statistic in _ALL}
"""All statistics by name."""


def number_names() -> dict[str, str]:
    """Return the names of the numbers that bounds can be set on, with descriptions.

    In a name, ``*`` stands for a kind of features or a category.
    """
    return {
        f"{name}.{path}".removesuffix("."): description
        for name, statistic in STATISTICS.items()
        for path, description in statistic.numbers.items()
    }
