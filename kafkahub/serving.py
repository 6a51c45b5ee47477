"""The certificate that a port of ours serves with, read anew when its files change.

Who renews certificates writes new files; the next handshake is made with them, and connections
that are open stay as they are. While the files do not fit together the older pair goes on.
"""

import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog

LOOK_S = 1.0
"""How often the files are looked at; a handshake costs far more than a look."""

log = structlog.get_logger()

Stamp = tuple[tuple[int, int, int], ...]
Pair = tuple[ssl.SSLContext, bytes, bytes]


class Files:
    """A certificate chain and its key, and whether they have changed.

    Shared by the threads that make handshakes.
    """

    def __init__(
        self, cert: Path, key: Path, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Raises OSError for a file that cannot be read, ssl.SSLError for a pair that is none."""
        self._paths = (cert, key)
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._looked_s = monotonic()
        self._seen = self._stamp()
        self._pair = self._read()

    @property
    def pem(self) -> tuple[bytes, bytes]:
        """Key and chain, as they were at the last look that could use them."""
        return self._pair[1:]

    def has_changed(self) -> bool:
        """Return whether there is a pair that can be used and was not there at the last look."""
        with self._lock:
            if self._monotonic() - self._looked_s < LOOK_S:
                return False
            self._looked_s = self._monotonic()
            try:
                stamp = self._stamp()
                if stamp == self._seen:
                    return False
                pair = self._read()
                if stamp != self._stamp():
                    return False  # they are being written; the next look sees them whole
            except (OSError, ssl.SSLError) as error:
                log.warning("certificate.not_taken", reason=str(error))
                return False
            self._seen, self._pair = stamp, pair
            log.info("certificate.renewed", path=str(self._paths[0]))
            return True

    def context(self) -> ssl.SSLContext:
        """Return what a handshake is made with now."""
        self.has_changed()
        return self._pair[0]

    def _stamp(self) -> Stamp:
        stats = [path.stat() for path in self._paths]
        return tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in stats)

    def _read(self) -> Pair:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(*self._paths)
        cert, key = (path.read_bytes() for path in self._paths)
        return context, key, cert


def renewing_context(cert: Path, key: Path, *_: object) -> ssl.SSLContext:
    """Return a context whose handshakes are made with the files as they are then.

    Further arguments are uvicorn's. Raises as ``Files`` does.
    """
    return context_of(Files(cert, key))


def context_of(files: Files) -> ssl.SSLContext:
    """Return a context that hands each handshake on to the newest one."""
    context = files.context()

    def take_newest(connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        newest = files.context()
        if newest is not context:
            connection.context = newest

    context.sni_callback = take_newest  # called by each handshake, with or without a name
    return context
