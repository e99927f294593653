"""An authority, a certificate for the API server and a key for service accounts, made by openssl."""

from __future__ import annotations

from typing import TYPE_CHECKING

from init import command

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DAYS = "7"


def make(folder: Path, *, addresses: Sequence[str]) -> None:
    """Write ``ca.crt``, ``server.crt``, ``server.key`` and ``accounts.key`` into *folder*.

    Raises:
        NotUp: openssl said no.
    """
    curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    _key(folder / "ca.key", *curve)
    _key(folder / "server.key", *curve)
    _key(folder / "accounts.key", "-algorithm", "RSA")  # of the other kind the API server wants two files
    new = ("openssl", "req", "-x509", "-new", "-days", DAYS)
    command(
        *new,
        *("-key", str(folder / "ca.key"), "-subj", "/CN=cluster-ca", "-out", str(folder / "ca.crt")),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
    )
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"]
    alternatives = ",".join([*(f"DNS:{n}" for n in names), *(f"IP:{a}" for a in ["127.0.0.1", *addresses])])
    authority = ("-CA", str(folder / "ca.crt"), "-CAkey", str(folder / "ca.key"))
    command(
        *new,
        *authority,
        *(
            "-key",
            str(folder / "server.key"),
            "-subj",
            "/CN=kube-apiserver",
            "-out",
            str(folder / "server.crt"),
        ),
        *("-addext", f"subjectAltName={alternatives}", "-addext", "extendedKeyUsage=serverAuth"),
        *("-addext", "basicConstraints=critical,CA:FALSE", "-addext", "authorityKeyIdentifier=keyid"),
    )


def _key(path: Path, *kind: str) -> None:
    command("openssl", "genpkey", *kind, "-out", str(path))
    path.chmod(0o600)
