"""The gate `copy`: a draft must not be a copy of a real slice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np

from medvae.gates._draft import Draft, Retry, Verdict
from medvae.gates._gate import Gate, Limit, RealSlice, Reference, outline
from medvae.gates._patch import Patch
from medvae.neighbours import Neighbours


class CopyGate(Gate):
    """Gate on the distance to the nearest real slice.

    A transplant resembles its host by design, so it is judged by how much it changes at the lesion.

    Its limits are ``distance``, which 99 % of neighbouring real slices exceed, and ``change``,
    which 97.5 % of them exceed in the box of a finding.
    """

    name = "copy"
    limits: ClassVar[Mapping[str, Limit]] = {
        "distance": Limit(0.05, 1, 0.01, 0.1),
        "change": Limit(0.04, 2.5, 0.01, 0.06),
    }
    by_median = frozenset(("distance", "change"))

    def __init__(self, reference: Reference) -> None:
        super().__init__(reference)
        self._real = Neighbours(reference.outlines)

    @classmethod
    def compare(cls, one: RealSlice, other: RealSlice) -> Iterator[tuple[str, float]]:
        """Yield the distance of two slices, and how much each finding differs from its place."""
        yield "distance", float(np.linalg.norm(one.outline.astype(np.float64) - other.outline))
        for here, there in ((one, other), (other, one)):
            for finding, patch in here.patches:
                same_place = Patch.of(there.scene, finding)
                if same_place is not None:
                    yield "change", _change(patch, same_place)

    def judge(self, draft: Draft) -> Iterator[Verdict]:
        """Judge a draft by its distance, or a transplant by its change."""
        limits = self.reference.limits
        if draft.donor is None:
            (distance,) = self._real.distances(outline(draft.picture)[None])
            yield Verdict(self.name, "distance", float(distance), limits["distance"])
            return
        result, changes = draft.result, []
        for finding in draft.findings[len(draft.scene.labels) :]:
            before, after = Patch.of(draft.scene, finding), Patch.of(result, finding)
            if before is not None and after is not None:
                changes.append(_change(before, after))
        yield Verdict(self.name, "change", min(changes, default=0.0), limits["change"])

    def counts(self, draft: Draft, series: Sequence[Draft]) -> bool:
        """Return whether a slice shows an inserted lesion or, if none does, is not empty.

        The slices at the ends of a series may be empty, and nothing can be changed there.
        """
        if any(one.donor is not None for one in series):
            return draft.donor is not None
        return bool(np.ptp(draft.scene.values) > 0)

    def retry(self, draft: Draft) -> Retry:
        """Ask for another host for a transplant, and for a stronger change otherwise."""
        transplanted = draft.in_series or draft.donor is not None
        return Retry.OTHER_HOST if transplanted else Retry.STRONGER


def _change(before: Patch, after: Patch) -> float:
    """Return the root mean square difference between two boxes, in the model's units."""
    return float(np.sqrt(np.square(after.picture - before.picture).mean(dtype=np.float64)))
