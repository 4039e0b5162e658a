"""The gate `field`: the displacement field must not fold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from medvae.gates._draft import Draft, Verdict
from medvae.gates._gate import Gate, Limit


class FieldGate(Gate):
    """Gate on the displacement field that moved a slice.

    Its limit is ``jacobian``, the smallest Jacobian determinant. It is not taken from real slices:
    a pixel that shrinks to a tenth of its area shows nothing any more.
    """

    name = "field"
    limits: ClassVar[Mapping[str, Limit]] = {"jacobian": Limit(0.1)}

    def judge(self, draft: Draft) -> Iterator[Verdict]:
        """Judge a draft that was rendered with a displacement field."""
        least = draft.rendered.numbers.get("least_jacobian")
        if least is not None:
            yield Verdict(self.name, "least jacobian", least, self.reference.limits["jacobian"])
