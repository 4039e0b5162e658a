"""Audits: test whether a synthetic set differs from the real one, and whether that matters.

A statistic is a subclass of `Statistic` in a module of its own, listed in `STATISTICS`.
"""

from __future__ import annotations

from medvae.audit._audit import SIZES, Audit, audit
from medvae.audit._decoded import DecodedSet, Pool
from medvae.audit._patients import Estimate
from medvae.audit._registry import STATISTICS, number_names
from medvae.audit._show_latent import LatentReport, show_latent
from medvae.audit._statistic import AuditSettings, ComparedSets, Rule, Statistic
from medvae.audit._verdict import AuditVerdict, VerdictRow

__all__ = [
    "SIZES",
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
    "number_names",
    "show_latent",
]
