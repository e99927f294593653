"""TLS towards the target: whom to trust is the system's matter, and OpenSSL's ``SSL_CERT_FILE``."""

from __future__ import annotations

import socket
import ssl
from urllib.parse import urlsplit

ANSWERS_WITHIN_S = 5.0
PORTS = {"http": 80, "https": 443}


def context(url: str) -> ssl.SSLContext | None:
    """Return what calls of *url* are encrypted by; None for plain HTTP."""
    return ssl.create_default_context() if urlsplit(url).scheme == "https" else None


def place(url: str) -> tuple[str, int]:
    """Return the host of *url*, and its port or the scheme's."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or PORTS[parts.scheme]


def untrusted(url: str) -> str | None:
    """Shake hands with *url* once, and return why no call will come through.

    None where one may: a target that is down, or silent, is what traffic is there to find out.
    """
    if (trust := context(url)) is None:
        return None
    host, port = place(url)
    try:
        with (
            socket.create_connection((host, port), timeout=ANSWERS_WITHIN_S) as plain,
            trust.wrap_socket(plain, server_hostname=host),
        ):
            return None
    except ssl.SSLCertVerificationError as error:
        return (
            f"the certificate of {host}:{port} is not trusted ({error.verify_message}): "
            "name the file with its authority in SSL_CERT_FILE"
        )
    except ssl.SSLEOFError:
        return None
    except ssl.SSLError as error:
        return f"{host}:{port} speaks no TLS that is known here ({error.reason or error}): is it http://?"
    except OSError:
        return None
