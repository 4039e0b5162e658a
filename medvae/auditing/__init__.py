"""Audits: test whether a synthetic set differs from the real one, and whether that matters.

A statistic is a module with a function ``measure``, listed in `STATISTICS`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medvae.auditing._audit import Audit, audit
    from medvae.auditing._decoded import DecodedSet, Pool
    from medvae.auditing._registry import STATISTICS, number_names
    from medvae.auditing._statistic import AuditSettings, ComparedSets, Estimate, Rule, Statistic
    from medvae.auditing._verdict import AuditVerdict, VerdictRow
    from medvae.auditing.latent_space import LatentReport, latent_view

_MODULES = {
    "_audit": ("Audit", "audit"),
    "_decoded": ("DecodedSet", "Pool"),
    "_registry": ("STATISTICS", "number_names"),
    "_statistic": ("AuditSettings", "ComparedSets", "Estimate", "Rule", "Statistic"),
    "_verdict": ("AuditVerdict", "VerdictRow"),
    "latent_space": ("LatentReport", "latent_view"),
}
"""Module of each public name."""

__all__ = [
    "STATISTICS",
    "Audit",
    "AuditSettings",
    "AuditVerdict",
    "ComparedSets",
    "DecodedSet",
    "Estimate",
    "LatentReport",
    "Pool",
    "Rule",
    "Statistic",
    "VerdictRow",
    "audit",
    "latent_view",
    "number_names",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: the help needs the names of numbers alone."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
