"""What comes back from a Job: files of its run's folder, in ConfigMaps that the Job owns.

Not its log: that goes with the pod, is cut when it is long, and is anybody's to write to.
"""

from __future__ import annotations

import base64
import io
import tarfile
from typing import TYPE_CHECKING

from agent.model import GamedayError

if TYPE_CHECKING:
    from pathlib import Path

    from agent.clients.kubernetes import Api, Object

FILES = ("record.json", "output.log", "reaper.log")
PART_BYTES = 700_000
"""A ConfigMap holds a mebibyte, and so does a request to etcd, in base64."""
PARTS_MAX = 24
UNPACKED_MAX_BYTES = 64 << 20
"""Of each file: a small archive may be made to hold a disk full of zeros."""
KEY = "part"


class ParcelLost(GamedayError):
    """What a Job sent back is not whole, or was too large to be sent."""


def packed(folder: Path) -> bytes:
    """Return the files of a run's *folder*, as far as they are there, as one compressed archive."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        for name in FILES:
            if (folder / name).is_file():
                archive.add(folder / name, arcname=name)
    return held.getvalue()


def unpack(parcel: bytes, folder: Path) -> None:
    """Write the files in *parcel* to *folder*; whatever else is in there is left out.

    Raises:
        ParcelLost: It is not one of ours.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(parcel), mode="r:gz") as archive:
            for name in FILES:
                if name in archive.getnames() and (file := archive.extractfile(name)):
                    (folder / name).write_bytes(file.read(UNPACKED_MAX_BYTES))
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ParcelLost(f"what the Job sent back cannot be read: {error}") from error


def send(api: Api, namespace: str, name: str, owner: Object, parcel: bytes) -> int:
    """Put *parcel* into ConfigMaps called *name* and a number, owned by *owner*; return how many.

    Raises:
        ParcelLost: It is too large.
        KubernetesError: The API server did not take it.
    """
    parts = [parcel[at : at + PART_BYTES] for at in range(0, len(parcel), PART_BYTES)]
    if len(parts) > PARTS_MAX:
        raise ParcelLost(f"the report has {len(parcel)} bytes, more than {PARTS_MAX} ConfigMaps hold")
    for number, part in enumerate(parts):
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"{name}-{number}", "ownerReferences": [owner]},
            "immutable": True,
            "binaryData": {KEY: base64.b64encode(part).decode()},
        }
        api.post(_path(namespace), body)
    return len(parts)


def fetch(api: Api, namespace: str, name: str, parts: int) -> bytes:
    """Return the parcel that :func:`send` put into so many *parts*."""
    found = [api.get(f"{_path(namespace)}/{name}-{number}") for number in range(parts)]
    return b"".join(base64.b64decode(each["binaryData"][KEY]) for each in found)


def _path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"
