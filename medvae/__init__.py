"""Synthetic medical slices, with right boxes and masks, for detection sets that are too small."""

from __future__ import annotations

__version__ = "0.1.0.dev0"
