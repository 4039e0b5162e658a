"""The gate `field`: the displacement field must not fold."""

from __future__ import annotations

from collections.abc import Iterator

from medvae.gates._candidate import Candidate, Verdict
from medvae.gates._limits import Limits

__all__ = ["judge_field"]


def judge_field(candidate: Candidate, limits: Limits) -> Iterator[Verdict]:
    """Judge the displacement field of a candidate, if it was rendered with one."""
    least = candidate.rendered.numbers.get("least_jacobian")
    if least is not None:
        yield Verdict("field", "least jacobian", least, limits.jacobian)
