"""Reading studies: every file is accounted for, and what is read can be trusted."""

from __future__ import annotations

from medvae.readers._files import FileReport
from medvae.readers._pixels import read_pixels
from medvae.readers._studies import Scan, open_studies, verify_pixels

__all__ = ["FileReport", "Scan", "open_studies", "read_pixels", "verify_pixels"]
