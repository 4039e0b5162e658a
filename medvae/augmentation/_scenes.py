"""Decoded slices in the form that renders use, and a cache of hosts."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

from medvae.augmentation._sources import Located
from medvae.records import Pixels
from medvae.render import Ground, Scene

__all__ = ["Hosts", "Seen"]

_KEPT_BYTES = 48 * 2**20
"""Byte limit of the cache of hosts: enough for the neighbours of a few series of donors."""


@dataclass(frozen=True, eq=False)
class Seen:
    """A decoded slice.

    Attributes:
        pixels: Pixels as stored in the file.
        scene: The slice in the form that renders use.
    """

    pixels: Pixels
    scene: Scene


class Hosts:
    """Cache of host slices prepared for lesions; the latest used are kept, up to a byte limit.

    Args:
        size: Side length of the model's canvas.
        spec: Intensity map of the model.
    """

    def __init__(self, size: int, spec: str | None) -> None:
        self._size, self._spec = size, spec
        self._kept: OrderedDict[Located, tuple[Seen, Ground]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def ready(self, host: Located) -> tuple[Seen, Ground]:
        """Return a host, prepared for lesions.

        Raises:
            DecodeError: If its pixels cannot be decoded.
        """
        known = self._known(host)
        if known is not None:
            return known
        seen = self._decoded(host)
        entry = seen, Ground.of(seen.scene)
        with self._lock:
            if host not in self._kept:
                self._kept[host] = entry
                self._bytes += _bytes_of(seen)
            while self._bytes > _KEPT_BYTES and len(self._kept) > 1:
                _, (oldest, _) = self._kept.popitem(last=False)
                self._bytes -= _bytes_of(oldest)
        return entry

    def seen(self, host: Located) -> Seen:
        """Return a decoded host, without preparing it for lesions.

        Raises:
            DecodeError: If its pixels cannot be decoded.
        """
        known = self._known(host)
        return self._decoded(host) if known is None else known[0]

    def _known(self, host: Located) -> tuple[Seen, Ground] | None:
        with self._lock:
            known = self._kept.get(host)
            if known is not None:
                self._kept.move_to_end(host)
            return known

    def _decoded(self, host: Located) -> Seen:
        pixels = host.native.pixels()
        return Seen(pixels, Scene.of(host.native, pixels, self._size, self._spec))


def _bytes_of(seen: Seen) -> int:
    return 2 * (seen.pixels.stored.nbytes + seen.pixels.values.nbytes)
