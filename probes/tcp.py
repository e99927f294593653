"""Whether somebody listens."""

from __future__ import annotations

import socket


def accepts(*, host: str, port: int, timeout_s: float = 1.0) -> bool:
    """Return whether a TCP connection to *host*:*port* is accepted within *timeout_s*."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s):
            return True
    except OSError:
        return False
