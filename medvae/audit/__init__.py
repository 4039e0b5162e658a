"""Audits: test whether a synthetic set differs from the real one, and whether that matters."""

from __future__ import annotations

from medvae.audit._audit import SIZES, Audit, audit
from medvae.audit._latent_job import LatentReport, show_latent
from medvae.audit._verdict import Row, Verdict

__all__ = ["SIZES", "Audit", "LatentReport", "Row", "Verdict", "audit", "show_latent"]
