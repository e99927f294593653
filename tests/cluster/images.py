"""Images without a registry: from scratch for small tools, and the project's own from its Dockerfile."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from build import Unable, alone, forget_old
from places import CACHE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

IMAGES = CACHE / "images"
PAUSE = "localhost/gameday-tests/pause:1"
BUSYBOX = "localhost/gameday-tests/busybox:1"
APPLETS = (
    "sh",
    "cat",
    "dd",
    "echo",
    "env",
    "httpd",
    "ls",
    "mkdir",
    "nc",
    "ps",
    "sleep",
    "stat",
    "top",
    "wget",
    "yes",
)
RECIPE = "1"
"""Change it when the same inputs make another image."""


def scratch_images() -> list[Path]:
    """Return the archives of what holds a pod's sandbox and of busybox.

    Raises:
        Unable: Debian's busybox-static is missing.
    """
    found = shutil.which("busybox")
    if found is None:
        raise Unable("busybox is not installed; see tests/cluster/packages.sh")
    busybox = Path(found).read_bytes()
    links = {f"bin/{name}": "/bin/busybox" for name in APPLETS}
    pause = {"Entrypoint": ["/bin/busybox", "sleep", "2147483647"]}
    shell = {"Entrypoint": ["/bin/sh", "-c"], "Cmd": ["sleep 2147483647"], "Env": ["PATH=/bin"]}
    return [
        _made(PAUSE, busybox, {}, pause),
        _made(BUSYBOX, busybox, links, shell),
    ]


def _made(name: str, busybox: bytes, links: Mapping[str, str], config: Mapping[str, Any]) -> Path:
    key = hashlib.sha256(busybox + json.dumps([name, links, config, RECIPE]).encode()).hexdigest()[:16]
    short = name.rpartition("/")[2].partition(":")[0]
    path = IMAGES / f"{short}-{key}.tar"
    with alone(path.with_suffix(".lock")):
        if not path.exists():
            draft = path.with_suffix(".draft")
            draft.write_bytes(_archive(name, _layer({"bin/busybox": busybox}, links), config))
            draft.rename(path)
            forget_old(IMAGES, f"{short}-*.tar")
    return path


def _layer(files: Mapping[str, bytes], links: Mapping[str, str]) -> bytes:
    folders = ("bin", "tmp", "etc", "var")
    members = [_entry(name, tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755) for name in folders]
    members += [_entry(name, tarfile.SYMTYPE, 0o777, target) for name, target in links.items()]
    return _tar(members, files)


def _entry(name: str, kind: bytes, mode: int, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname = kind, mode, target
    return info


def _tar(members: Sequence[tarfile.TarInfo], files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for member in members:
            tar.addfile(member)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.mode, info.size = 0o755, len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _archive(name: str, layer: bytes, config: Mapping[str, Any]) -> bytes:
    """Return a docker-archive of one layer.

    Source:
        Docker Image Specification v1.2, "Combined Image JSON + Filesystem Changeset Format".
    """
    digest = hashlib.sha256(layer).hexdigest()
    described = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
    ).encode()
    config_name = f"{hashlib.sha256(described).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": [f"{digest}/layer.tar"]}]
    parts = {
        config_name: described,
        f"{digest}/layer.tar": layer,
        "manifest.json": json.dumps(manifest).encode(),
    }
    return _tar([], parts)
