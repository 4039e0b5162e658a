"""Has each rendered slice judged by gates that the real slices of the run have calibrated."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medvae.augmentation._network import Network
from medvae.augmentation._scenes import Seen
from medvae.augmentation._sources import Located
from medvae.augmentation._staged import Staged
from medvae.augmentation._traced import area
from medvae.gates import Calibration, Candidate, Gates, Limits, Origin, Verdict
from medvae.latent import LatentStatistics
from medvae.records import Labels
from medvae.render import Rendered

__all__ = ["Judge", "Witness"]

_COPY = "copy"

_BY_THE_MEDIAN = ("area", "contrast", "similarity", "distance", "change", "remoteness")
"""Measures of how like a slice is to others. A series has the limits of its median slice: of its
many slices, some lie beyond those of single ones even where they are real.
"""


class Witness:
    """Sees all real slices, and makes the judge."""

    def __init__(self) -> None:
        self._calibration = Calibration()

    def see(self, item: Located, seen: Seen, image: NDArray[np.float32]) -> None:
        """Look at a slice; those of a series come one after another."""
        self._calibration.add(item.series.key, seen.scene, image)

    def judge(self, statistics: LatentStatistics, network: Network, copies_pass: bool) -> Judge:
        """Make the judge.

        Args:
            statistics: of the model's training set.
            network: shows the judge where a new slice lies in the latent space.
            copies_pass: the run was asked for copies, which are then no reason to reject.
        """
        return Judge(self._calibration.gates(statistics), network, copies_pass)


class Judge:
    """Judges slices.

    Args:
        gates: calibrated.
        network: encodes what was rendered.
        copies_pass: leave the gate against copies out.
    """

    def __init__(self, gates: Gates, network: Network, copies_pass: bool) -> None:
        self._gates = gates
        self._network = network
        self._copies_pass = copies_pass

    @property
    def limits(self) -> Limits:
        """What the gates ask for."""
        return self._gates.limits

    def __call__(
        self, staged: Sequence[Staged], whole: bool
    ) -> Iterator[tuple[Staged, tuple[Verdict, ...], str | None]]:
        """Give what the gates say of each slice, and why it is rejected.

        Args:
            staged: slices; those of a host that nothing was done to are not judged.
            whole: they are a series.
        """
        judged = dict(self._judged([item for item in staged if not item.untouched]))
        of_all = _of_all(judged) if whole else None
        for item in staged:
            verdicts = judged.get(item, ())
            own = (v for v in verdicts if not (whole and v.measure in _BY_THE_MEDIAN))
            yield item, verdicts, next((v.reason for v in own if not v.passed), of_all)

    def _judged(self, staged: Sequence[Staged]) -> Iterator[tuple[Staged, tuple[Verdict, ...]]]:
        pictures = [item.seen.scene.picture(item.rendered.values) for item in staged]
        mu, _ = self._network.encode(pictures)
        candidates = [
            Candidate(item.seen.scene, _with_one_piece(item), picture, own, _origin(item))
            for item, picture, own in zip(staged, pictures, mu, strict=True)
        ]
        for item, verdicts in zip(staged, self._gates.judge(candidates), strict=True):
            copies_pass = self._copies_pass
            yield item, tuple(v for v in verdicts if not (copies_pass and v.gate == _COPY))


def _of_all(judged: Mapping[Staged, Sequence[Verdict]]) -> str | None:
    """Say what is wrong with a series as a whole, if anything."""
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
    """Return the slices that say whether a series is a copy.

    Where a lesion was set in, those that show it; else those that are not empty, as the last ones
    at its ends may be: nothing can be changed there.
    """
    with_lesion = [item for item in items if item.planted is not None]
    return with_lesion or [item for item in items if np.ptp(item.seen.scene.values) > 0]


def _with_one_piece(item: Staged) -> Rendered:
    """Return what was rendered, of a whole lesion with the largest piece on the slice alone."""
    own, labels = len(item.seen.scene.labels), item.rendered.labels.findings
    if item.draw.lesion is None or item.planted is None:
        return item.rendered
    largest = max(labels[own:], key=area)
    return replace(item.rendered, labels=Labels((*labels[:own], largest)))


def _origin(item: Staged) -> Origin | None:
    if item.planted is None:
        return None
    donor = item.planted.donor.scene
    return Origin(donor, donor.labels.findings[item.planted.finding])
