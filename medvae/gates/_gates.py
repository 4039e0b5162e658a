"""All gates, with the real slices against which candidates are compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from medvae.gates._candidate import Candidate, Verdict
from medvae.gates._copy import judge_copy, outline
from medvae.gates._crowd import Crowd
from medvae.gates._field import judge_field
from medvae.gates._labels import judge_labels
from medvae.gates._lesion import judge_lesions
from medvae.gates._limits import Limits
from medvae.gates._plausibility import TrainingLatents

__all__ = ["Gates"]


class Gates:
    """Gates that judge candidates against real slices; built by a `Calibration`.

    Args:
        limits: Limits that candidates must keep.
        outlines: Outlines of the real slices, ``[N, D]``.
        latents: Latents of the training set; None to omit the plausibility gate.

    Attributes:
        limits: Limits of the gates, for the record of a run.
    """

    def __init__(
        self,
        limits: Limits,
        outlines: NDArray[np.float32],
        latents: TrainingLatents | None = None,
    ) -> None:
        self.limits = limits
        self._real = Crowd(outlines)
        self._latents = latents

    def judge(self, candidates: Sequence[Candidate]) -> list[tuple[Verdict, ...]]:
        """Return the verdicts on each candidate, independent of the other candidates.

        A gate that does not apply gives no verdict: `lesion` without a finding or with an invalid
        box, `field` if nothing was moved, `plausibility` without a latent. At strength 0 a copy is
        requested, so the caller must ignore the verdict of the gate `copy`.
        """
        if not candidates:
            return []
        outlines = np.stack([outline(candidate.picture) for candidate in candidates])
        distances = self._real.distances(outlines).tolist()
        remoteness = self._remoteness(candidates)
        return [
            (*self._of_pixels(candidate), judge_copy(candidate, distance, self.limits), *remote)
            for candidate, distance, remote in zip(candidates, distances, remoteness, strict=True)
        ]

    def _of_pixels(self, candidate: Candidate) -> Iterator[Verdict]:
        labels = judge_labels(candidate, self.limits)
        yield from labels
        if all(verdict.passed or verdict.measure == "area" for verdict in labels):
            yield from judge_lesions(candidate, self.limits)
        yield from judge_field(candidate, self.limits)

    def _remoteness(self, candidates: Sequence[Candidate]) -> list[list[Verdict]]:
        verdicts: list[list[Verdict]] = [[] for _ in candidates]
        mu = {i: candidate.mu for i, candidate in enumerate(candidates) if candidate.mu is not None}
        if self._latents is not None and mu:
            remoteness = self._latents.remoteness(list(mu.values()))
            for index, value in zip(mu, remoteness, strict=True):
                verdicts[index].append(
                    Verdict("plausibility", "remoteness", value, high=self.limits.remoteness)
                )
        return verdicts
