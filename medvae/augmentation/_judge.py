"""Has each rendered slice judged by gates that the real slices of the run have calibrated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from medvae.augmentation._network import Network
from medvae.augmentation._scenes import Seen
from medvae.augmentation._sources import Located
from medvae.augmentation._staged import Staged
from medvae.gates import Calibration, Candidate, Gates, Limits, Origin, Verdict
from medvae.latent import LatentStatistics

__all__ = ["Judge", "Witness"]


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

    def __call__(self, staged: Sequence[Staged]) -> Iterator[tuple[Staged, tuple[Verdict, ...]]]:
        """Give what the gates say of each slice."""
        pictures = [item.seen.on_canvas(item.rendered.values) for item in staged]
        mu, _ = self._network.encode(pictures)
        candidates = [
            Candidate(item.seen.scene, item.rendered, picture, own, _origin(item))
            for item, picture, own in zip(staged, pictures, mu, strict=True)
        ]
        for item, verdicts in zip(staged, self._gates.judge(candidates), strict=True):
            copies_pass = self._copies_pass
            yield item, tuple(v for v in verdicts if not (copies_pass and v.gate == "copy"))


def _origin(item: Staged) -> Origin | None:
    if item.planted is None:
        return None
    donor = item.planted.donor.scene
    return Origin(donor, donor.labels.findings[item.planted.finding])
