"""Writing slices with new pixel values, one format a module, all called in the same way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from medvae.records import Series
from medvae.writers._new_pixels import NewPixels, Scale
from medvae.writers._nifti import write_nifti
from medvae.writers._png import write_png

__all__ = ["WRITERS", "NewPixels", "Scale", "Writer", "write_nifti", "write_png"]

Writer = Callable[[Path, Series, Sequence[NewPixels]], list[Path]]
"""Takes a folder, a series, and the new pixels of each of its slices; returns the files written.

Names are made of keys, never of what the source or its patient is called. Each file is there as a
whole or not at all, and the same pixels give the same bytes.
"""

WRITERS: Mapping[str, Writer] = MappingProxyType({"nifti": write_nifti, "png": write_png})
"""The writers, by the name that a user gives."""
