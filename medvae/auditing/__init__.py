"""Audits: test whether a synthetic set differs from the real one, and whether that matters.

A statistic is a subclass of `Statistic` in a module of its own, listed in `STATISTICS`.
"""

from __future__ import annotations

from medvae.auditing._audit import SIZES, Audit, audit
from medvae.auditing._decoded import DecodedSet, Pool
from medvae.auditing._latent_view import LatentReport, latent_view
from medvae.auditing._patients import Estimate
from medvae.auditing._registry import STATISTICS, number_names
from medvae.auditing._statistic import AuditSettings, ComparedSets, Rule, Statistic
from medvae.auditing._verdict import AuditVerdict, VerdictRow

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
    "latent_view",
    "number_names",
]
