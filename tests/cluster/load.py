"""Loads images into a folder of containerd's once; every node then begins with a copy made of hard links.

``python load.py ORDER`` is the first process of throwaway namespaces, so that nothing is left of it either.
Layers and blobs are never written to again (a container writes into a layer of its own), so they may
be shared; containerd's databases may not, and are copied.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import config
from build import alone, forget_old, run, say
from init import Init, accepts, command
from places import CACHE, HERE

if TYPE_CHECKING:
    from collections.abc import Sequence

PRIVATE = ("/run", "/var/lib", "/var/log")
"""Folders that containerd, runc, kubelet and their plugins write to whatever they are told."""
WITHIN_S = 300.0


def loaded(images: Sequence[Path], *, pause: str) -> Path:
    """Return a folder that holds *images*, loaded and unpacked.

    Raises:
        Failed: They could not be loaded; the message names the log.
    """
    key = hashlib.sha256(json.dumps([image.name for image in images]).encode()).hexdigest()[:16]
    folder = CACHE / "loaded" / key
    with alone(folder.with_suffix(".lock")):
        if not folder.exists():
            say("loading the images")
            draft = folder.with_suffix(".draft")
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            order = {"folder": str(draft), "images": [str(image) for image in images], "pause": pause}
            words = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
            words += [sys.executable, str(HERE / "load.py"), json.dumps(order)]
            run(words, log=folder.with_suffix(".log"), within_s=WITHIN_S)
            draft.rename(folder)
            forget_old(folder.parent, "*")
    folder.touch()
    return folder


def copy(source: Path, target: Path) -> None:
    """Make *target* what *source* is, sharing all that is never written to again."""
    command("cp", "-al", f"{source}/images", str(target), within_s=60.0)
    for database in target.rglob("*.db"):
        draft = database.with_suffix(".draft")
        shutil.copy2(database, draft)
        draft.rename(database)


def main() -> None:
    """Load the images of the order into its folder."""
    order = json.loads(sys.argv[1])
    folder = Path(order["folder"])
    (folder / "logs").mkdir()
    init = Init(folder / "logs", lifeline=False)
    for where in PRIVATE:
        command("mount", "-t", "tmpfs", "-o", "mode=755", "private", where)
    (folder / "containerd.toml").write_text(config.containerd(folder, pause=order["pause"]))
    init.start("containerd", ["containerd", "-c", str(folder / "containerd.toml")])
    socket = folder / "containerd.sock"
    init.until(lambda: accepts(socket), part="containerd", within_s=30.0)
    for image in order["images"]:
        command("ctr", "-a", str(socket), "-n", "k8s.io", "images", "import", image, within_s=WITHIN_S)
    init.end("containerd", within_s=20.0)


if __name__ == "__main__":
    main()
