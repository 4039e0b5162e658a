"""The gate `field`: what moved the pixels has folded nothing."""

from __future__ import annotations

from collections.abc import Iterator

from medvae.gates._candidate import Candidate, Verdict
from medvae.gates._limits import Limits

__all__ = ["judge_field"]


def judge_field(candidate: Candidate, limits: Limits) -> Iterator[Verdict]:
    """Judge the field of a candidate that was rendered by one."""
    least = candidate.rendered.numbers.get("least_jacobian")
    if least is not None:
        yield Verdict("field", "least jacobian", least, limits.jacobian)
