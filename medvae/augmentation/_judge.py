"""Gates for rendered slices, calibrated on the real slices of the run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medvae.augmentation._scenes import Seen
from medvae.augmentation._sources import Located
from medvae.augmentation._staged import Staged
from medvae.gates import Calibration, Candidate, Gates, Limits, Origin, Verdict
from medvae.latent import LatentStatistics
from medvae.networks import Codec
from medvae.records import Labels
from medvae.render import Rendered

__all__ = ["Judge", "Witness"]

_COPY = "copy"

_BY_THE_MEDIAN = ("area", "contrast", "similarity", "distance", "change", "remoteness")
"""Measures of how similar a slice is to others. In a series, the limits apply to the median over
slices: even in a real series, some of the many slices exceed the limits for single slices.
"""


class Witness:
    """Calibration of the gates on all real slices."""

    def __init__(self) -> None:
        self._calibration = Calibration()

    def see(self, item: Located, seen: Seen, image: NDArray[np.float32]) -> None:
        """Add a slice; the slices of a series must be added consecutively."""
        self._calibration.add(item.series.key, seen.scene, image)

    def judge(self, statistics: LatentStatistics, codec: Codec, copies_pass: bool) -> Judge:
        """Return the calibrated gates.

        Args:
            statistics: Latent statistics of the model's training set.
            codec: Codec that encodes new slices.
            copies_pass: Whether copies were requested and are not rejected.
        """
        return Judge(self._calibration.gates(statistics), codec, copies_pass)


class Judge:
    """Gates applied to drafts.

    Args:
        gates: Calibrated gates.
        codec: Codec that encodes rendered slices.
        copies_pass: Whether to leave out the gate against copies.
    """

    def __init__(self, gates: Gates, codec: Codec, copies_pass: bool) -> None:
        self._gates = gates
        self._codec = codec
        self._copies_pass = copies_pass

    @property
    def limits(self) -> Limits:
        """The limits of the gates."""
        return self._gates.limits

    def __call__(
        self, staged: Sequence[Staged], whole: bool
    ) -> Iterator[tuple[Staged, tuple[Verdict, ...], str | None]]:
        """Yield each draft with its verdicts and the reason for its rejection, if any.

        Args:
            staged: Drafts; unchanged slices of a host get no verdicts.
            whole: Whether the drafts form a series.
        """
        judged = dict(self._judged([item for item in staged if not item.untouched]))
        of_all = _of_all(judged) if whole else None
        for item in staged:
            verdicts = judged.get(item, ())
            own = (v for v in verdicts if not (whole and v.measure in _BY_THE_MEDIAN))
            yield item, verdicts, next((v.reason for v in own if not v.passed), of_all)

    def _judged(self, staged: Sequence[Staged]) -> Iterator[tuple[Staged, tuple[Verdict, ...]]]:
        pictures = [item.seen.scene.picture(item.rendered.values) for item in staged]
        mu, _ = self._codec.encode(pictures)
        candidates = [
            Candidate(item.seen.scene, _with_one_piece(item), picture, own, _origin(item))
            for item, picture, own in zip(staged, pictures, mu, strict=True)
        ]
        for item, verdicts in zip(staged, self._gates.judge(candidates), strict=True):
            copies_pass = self._copies_pass
            yield item, tuple(v for v in verdicts if not (copies_pass and v.gate == _COPY))


def _of_all(judged: Mapping[Staged, Sequence[Verdict]]) -> str | None:
    """Return the reason to reject a series as a whole, if any."""
    counting = _counting(judged)
    for measure in _BY_THE_MEDIAN:
        verdicts = [
            verdict
            for item, found in judged.items()
            for verdict in found
            if verdict.measure == measure and (item in counting or verdict.gate != _COPY)
        ]
        if verdicts:
            median = replace(verdicts[0], value=float(np.median([v.value for v in verdicts])))
            if not median.passed:
                return median.reason
    return None


def _counting(items: Collection[Staged]) -> Collection[Staged]:
    """Return the slices that decide whether a series is a copy.

    These are the slices that show an inserted lesion, or, if there are none, those that are not
    empty: the slices at the ends of a series may be empty, and nothing can be changed there.
    """
    with_lesion = [item for item in items if item.planted is not None]
    return with_lesion or [item for item in items if np.ptp(item.seen.scene.values) > 0]


def _with_one_piece(item: Staged) -> Rendered:
    """Return the rendered slice; for a whole lesion, only with its largest piece on the slice."""
    own, labels = len(item.seen.scene.labels), item.rendered.labels.findings
    if item.draw.lesion is None or item.planted is None:
        return item.rendered
    largest = max(labels[own:], key=lambda finding: finding.area)
    return replace(item.rendered, labels=Labels((*labels[:own], largest)))


def _origin(item: Staged) -> Origin | None:
    if item.planted is None:
        return None
    donor = item.planted.donor.scene
    return Origin(donor, donor.labels.findings[item.planted.finding])
