"""All gates, their calibration on real slices, and their decision about drafts."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvae.gates._copy import CopyGate
from medvae.gates._draft import Draft, Verdict
from medvae.gates._field import FieldGate
from medvae.gates._gate import OUTLINE, Gate, Limits, RealSlice, Reference
from medvae.gates._labels import LabelsGate
from medvae.gates._lesion import LesionGate
from medvae.gates._plausibility import PlausibilityGate
from medvae.latent import LatentStatistics
from medvae.render import Scene

GATES: dict[str, type[Gate]] = {
    gate.name: gate for gate in (LabelsGate, LesionGate, FieldGate, CopyGate, PlausibilityGate)
}
"""Gates by name, in the order in which their verdicts are listed."""

_OUTLINES, _LIMIT = "outlines", "limit "
"""Names of the arrays of a calibration; those of limits begin with the second."""


class Gates:
    """Gates that judge drafts; built by a `Calibration`.

    Args:
        reference: Real slices with which drafts are compared, and the limits.
        but: Names of gates to leave out.

    Attributes:
        limits: Limits of the gates, for the record of a run.
    """

    def __init__(self, reference: Reference, but: Collection[str] = ()) -> None:
        self.limits = reference.limits
        self._gates = {name: gate(reference) for name, gate in GATES.items() if name not in but}

    def judge(self, draft: Draft) -> tuple[Verdict, ...]:
        """Return the verdicts on a draft, independent of other drafts."""
        return tuple(verdict for gate in self._gates.values() for verdict in gate.judge(draft))

    def decide(self, drafts: Sequence[Draft], in_series: bool = False) -> list[Draft]:
        """Return the drafts with their verdicts and, if they are rejected, the reason.

        Args:
            drafts: Drafts; unchanged slices of a host get no verdicts of their own.
            in_series: Whether the drafts are the slices of one series, in which the median decides
                about some measures.
        """
        judged = [
            draft if draft.unchanged else replace(draft, verdicts=self.judge(draft))
            for draft in drafts
        ]
        failed = self._failed_in_series(judged) if in_series else None
        return [self._decided(draft, in_series, failed) for draft in judged]

    def _decided(self, draft: Draft, in_series: bool, failed: Verdict | None) -> Draft:
        for verdict in draft.verdicts:
            by_median = in_series and verdict.measure in self._gates[verdict.gate].by_median
            if not (by_median or verdict.passed):
                return self._rejected(draft, verdict)
        return draft if failed is None else self._rejected(draft, failed)

    def _rejected(self, draft: Draft, verdict: Verdict) -> Draft:
        retry = self._gates[verdict.gate].retry(draft)
        return replace(draft, reason=verdict.reason, retry=retry)

    def _failed_in_series(self, drafts: Sequence[Draft]) -> Verdict | None:
        """Return the median verdict that rejects a series as a whole, if any."""
        changed = [draft for draft in drafts if not draft.unchanged]
        for name, gate in self._gates.items():
            counting = [draft for draft in changed if gate.counts(draft, changed)]
            for measure in sorted(gate.by_median):
                verdicts = [
                    verdict
                    for draft in counting
                    for verdict in draft.verdicts
                    if (verdict.gate, verdict.measure) == (name, measure)
                ]
                if verdicts:
                    values = [verdict.value for verdict in verdicts]
                    median = replace(verdicts[0], value=float(np.median(values)))
                    if not median.passed:
                        return median
        return None


class Calibration:
    """Collector of what real slices say about limits, from which the gates are built.

    It compares consecutive slices of a series, and keeps 1 KB and a few numbers for each slice.
    Parts of a calibration can be merged in any order.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, array[float]] = {}
        self._outlines = bytearray()
        self._last: tuple[str, RealSlice] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # The last slice is of no use to what is merged.
        return {**self.__dict__, "_last": None}

    def add(self, series: str, scene: Scene, picture: NDArray[np.float32]) -> None:
        """Add a slice.

        Args:
            series: Key of its series; the slices of a series must be added consecutively, in order.
            scene: The slice.
            picture: The slice as the model sees it, ``[size, size]``.
        """
        last, real = self._last, RealSlice(scene, picture)
        self._outlines += real.outline.tobytes()
        for gate in GATES.values():
            self._note(gate.observe(real))
            if last is not None and last[0] == series:
                self._note(gate.compare(last[1], real))
        self._last = series, real

    def follow(self, series: str, scene: Scene, picture: NDArray[np.float32]) -> None:
        """Compare the next slice with a slice that is added to another part of the calibration."""
        self._last = series, RealSlice(scene, picture)

    def _note(self, found: Iterator[tuple[str, float]]) -> None:
        for name, number in found:
            self._numbers.setdefault(name, array("d")).append(number)

    def merge(self, other: Calibration) -> None:
        """Add what another part has collected."""
        for name, numbers in other._numbers.items():
            self._numbers.setdefault(name, array("d")).extend(numbers)
        self._outlines += other._outlines

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything as arrays, for a file; ``of_arrays`` reads them."""
        numbers = {f"{_LIMIT}{name}": np.array(found) for name, found in self._numbers.items()}
        return {_OUTLINES: self._known_outlines(), **numbers}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Calibration:
        """Return the calibration that these arrays hold; others are ignored."""
        found = cls()
        for name, values in arrays.items():
            if name.startswith(_LIMIT):
                found._numbers[name.removeprefix(_LIMIT)] = array("d", values.tolist())
        found._outlines += np.asarray(arrays[_OUTLINES], np.float32).tobytes()
        return found

    def _known_outlines(self) -> NDArray[np.float32]:
        return np.array(np.frombuffer(self._outlines, np.float32)).reshape(-1, OUTLINE)

    def gates(self, latents: LatentStatistics | None = None, but: Collection[str] = ()) -> Gates:
        """Build the gates.

        Args:
            latents: Latents of the training set; None to omit the gate that requires them.
            but: Names of gates to leave out.

        Raises:
            ValueError: If no slice was added.
        """
        if not self._outlines:
            raise ValueError("gates need one real slice or more")
        numbers = {name: list(found) for name, found in self._numbers.items()}
        rules = {name: rule for gate in GATES.values() for name, rule in gate.limits.items()}
        if latents is not None:
            for gate in GATES.values():
                for name, number in gate.learn(latents):
                    numbers.setdefault(name, []).append(number)
        return Gates(Reference(Limits.of(rules, numbers), self._known_outlines(), latents), but)
