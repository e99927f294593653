"""The project's own image, built from its Dockerfile over a base that stands in for the published one.

The base is Debian, fetched as packages, with the very interpreter that runs this; so no image
registry is needed.  Everything is kept by the hash of what it was made from.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from build import Unable, alone, forget_old, run, say
from places import CACHE, PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NAME = "localhost/gameday-tests/agent:1"
BASE = "localhost/gameday-tests/base:1"
IMAGES = CACHE / "images"
RECIPE = "2"
"""Change it when the same inputs make another image."""
SUITE = "bookworm"
PACKAGES = (
    "ca-certificates,iproute2,libbz2-1.0,libexpat1,libffi8,libgdbm6,liblzma5,libncursesw6,libreadline8,"
    "libsqlite3-0,libssl3,libuuid1,nftables,zlib1g"
)
LEFT_OUT = ("test", "idlelib", "tkinter", "turtledemo", "site-packages", "__pycache__", "lib2to3")
BASE_WITHIN_S, IMAGE_WITHIN_S = 900.0, 900.0
INPUTS = ("Dockerfile", ".dockerignore", "requirements.lock", "pyproject.toml", "README.md", "LICENSE")
ROOMS = ("agent", "probes", "experiments")
BASE_DOCKERFILE = """\
FROM scratch
ADD base.tar /
ENV PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
"""
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")


def agent_image() -> Path:
    """Return the archive of the project's image as the work tree is now.

    Raises:
        Unable: A program is missing.
        Failed: A build failed; the message names its log.
    """
    base = _base()
    path = IMAGES / f"agent-{_key(base)}.tar"
    with alone(path.with_suffix(".lock")):
        if not path.exists():
            say("building the project's image")
            _build(base, path)
            forget_old(IMAGES, "agent-*.tar")
    os.utime(path)
    return path


def _key(base: Path) -> str:
    found = hashlib.sha256(f"{RECIPE} {base.name}".encode())
    files = [PROJECT / name for name in INPUTS]
    for room in ROOMS:
        files += sorted(f for f in (PROJECT / room).rglob("*") if f.is_file() and f.suffix != ".pyc")
    for file in files:
        found.update(str(file.relative_to(PROJECT)).encode() + b"\0" + file.read_bytes())
    return found.hexdigest()[:16]


def _base() -> Path:
    """Return a root file system: Debian and CPython, as an archive."""
    prefix = Path(sys.base_prefix)
    if prefix in {Path("/usr"), Path("/usr/local")}:
        raise Unable(
            f"the base image takes CPython from a prefix of its own, such as pyenv's; {prefix} is not"
        )
    key = hashlib.sha256(json.dumps([RECIPE, SUITE, PACKAGES, LEFT_OUT, sys.version]).encode()).hexdigest()[
        :16
    ]
    path = IMAGES / f"base-{key}.tar"
    with alone(path.with_suffix(".lock")):
        if not path.exists():
            say("making the base image: Debian and CPython (two minutes)")
            _make_base(prefix, path)
            forget_old(IMAGES, "base-*.tar")
    os.utime(path)
    return path


def _make_base(prefix: Path, path: Path) -> None:
    log, draft = path.with_suffix(".log"), path.with_suffix(".draft")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    left_out = [f"--exclude={version}/{name}" for name in LEFT_OUT] + [
        f"--exclude={name}" for name in ("__pycache__", "config-*-linux-gnu", "*.a")
    ]
    libraries = [
        "-C",
        str(prefix / "lib"),
        version,
        *(f.name for f in (prefix / "lib").glob("libpython*.so.*")),
    ]
    with tempfile.TemporaryDirectory(prefix="gameday-base-") as folder:
        python = Path(folder) / "python.tar"
        run(["tar", "-cf", str(python), *left_out, "--transform=s,^,usr/local/lib/,S", *libraries], log=log)
        interpreter = ["-C", str(prefix / "bin"), version]
        run(["tar", "-rf", str(python), "--transform=s,^,usr/local/bin/,S", *interpreter], log=log)
        names = [f'chroot "$1" ln -s {version} /usr/local/bin/{name}' for name in ("python", "python3")]
        strip = 'strip --strip-unneeded "$1"/usr/local/lib/libpython*.so.1.0 || true'
        hooks = [f"tar-in {python} /", *names, strip, 'chroot "$1" ldconfig']
        words = ["mmdebstrap", "--mode=root", "--variant=minbase", "--format=tar", f"--include={PACKAGES}"]
        words += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "info", "locale", "man")]
        words += [f"--customize-hook={hook}" for hook in hooks]
        run([*words, SUITE, str(draft)], log=log, within_s=BASE_WITHIN_S)
    draft.rename(path)


def _build(base: Path, path: Path) -> None:
    log, draft = path.with_suffix(".log"), path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with _buildah() as buildah, tempfile.TemporaryDirectory(prefix="gameday-base-") as folder:
        context = Path(folder)
        (context / "Dockerfile").write_text(BASE_DOCKERFILE)
        os.link(base, context / "base.tar") if _same_disk(base, context) else shutil.copy(
            base, context / "base.tar"
        )
        run([*buildah, "bud", "--layers", "--tag", BASE, str(context)], log=log, within_s=IMAGE_WITHIN_S)
        trust = ["--volume", f"{AUTHORITIES}:{AUTHORITIES}:ro"] if AUTHORITIES.exists() else []
        words = [
            "bud",
            "--layers",
            "--isolation",
            "chroot",
            "--pull-never",
            *trust,
            "--build-arg",
            f"BASE={BASE}",
        ]
        run([*buildah, *words, "--tag", NAME, str(PROJECT)], log=log, within_s=IMAGE_WITHIN_S)
        run([*buildah, "push", NAME, f"docker-archive:{draft}:{NAME}"], log=log, within_s=IMAGE_WITHIN_S)
    draft.rename(path)


def _same_disk(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev


@contextmanager
def _buildah() -> Iterator[Sequence[str]]:
    """Yield the words that start buildah with its storage in the cache, not in /var/lib."""
    if shutil.which("buildah") is None or shutil.which("mmdebstrap") is None:
        raise Unable("buildah or mmdebstrap is not installed; see tests/cluster/packages.sh")
    store = CACHE / "buildah"
    with alone(store / "lock"):
        yield [
            "buildah",
            "--root",
            str(store / "root"),
            "--runroot",
            str(store / "run"),
            "--storage-driver",
            "overlay",
        ]
