"""A file system of this pod that is filled by a file without a name, which the kernel frees by itself."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from agent.model import Fact, Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.faults.kernel.scope import Network
    from agent.injector.orders import Fill
    from agent.model import Json

SLACK_FRACTION = 0.01
"""A file system keeps a little for itself."""
MOUNTS = Path("/proc/self/mountinfo")


class Filled:
    """A file; see :class:`~agent.injector.breaking.Breaking`."""

    def __init__(self, order: Fill) -> None:
        self._order = order
        self._file: int | None = None
        self._bytes = 0

    def check(self) -> None:
        """Refuse what is a folder on somebody else's file system: filling it would hit everybody there.

        Raises:
            Unsupported: It is one, or cannot be told.
        """
        root = mounted_root(MOUNTS.read_text(encoding="utf-8"), self._order.path)
        if root is None:
            raise Unsupported(f"unsupported: nothing is mounted at {self._order.path} in the injector")
        if root != "/":
            raise Unsupported(
                "unsupported: that volume is a folder on the node's disk, which every pod there shares; "
                "what can be filled is a file system of its own: an emptyDir of `medium: Memory`, a claim"
            )

    def put(self) -> Fact:
        """Make the file as long as it takes."""
        try:
            self._file = _nameless(self._order.path)
            wanted = max(0, int(self._order.used_fraction * self._size()) - self._used())
            self._allocate(min(wanted, self._free()))
        except OSError as error:
            return Fact(holds=False, says=f"{self._order.path}: {error.strerror}", measured=self._measured())
        reached = self._used_fraction() >= self._order.used_fraction - SLACK_FRACTION
        says = "" if reached and self._bytes else f"{self._used_fraction():.2f} of it are used"
        says = says if self._bytes else "it is as full as that already"
        return Fact(holds=not says, says=says, measured=self._measured())

    def _allocate(self, size: int) -> None:
        """Raise OSError when it does not fit."""
        if not size:
            return
        assert self._file is not None
        try:
            os.posix_fallocate(self._file, 0, size)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        self._bytes = os.fstat(self._file).st_blocks * 512

    def renew(self) -> Fact:
        """Tell whether it is still there; a file needs no beat."""
        return Fact(holds=self._file is not None)

    def change(self, networks: Sequence[Network]) -> None:
        """Nothing here has peers."""

    def news(self) -> Mapping[str, Json]:
        """Return nothing; it does not change."""
        return {}

    def remove(self) -> Fact | None:
        """Let go of the file, which has no name, and so of its blocks."""
        if self._file is None:
            return None
        measured = self._measured()
        os.close(self._file)
        self._file = None
        return Fact(holds=True, measured=measured)

    def _measured(self) -> dict[str, Json]:
        return {"bytes": self._bytes, "used_fraction": round(self._used_fraction(), 4)}

    def _size(self) -> int:
        found = os.statvfs(self._order.path)
        return found.f_blocks * found.f_frsize

    def _free(self) -> int:
        found = os.statvfs(self._order.path)
        return found.f_bavail * found.f_frsize

    def _used(self) -> int:
        found = os.statvfs(self._order.path)
        return (found.f_blocks - found.f_bfree) * found.f_frsize

    def _used_fraction(self) -> float:
        return self._used() / max(1, self._size())


def mounted_root(mountinfo: str, path: str) -> str | None:
    """Return which folder of its file system is mounted at *path*; None if nothing is.

    Source: proc(5), /proc/pid/mountinfo: the fourth field is the root of the mount in its file system,
    the fifth the mount point.  The last line for a mount point is the one that is seen.
    """
    found = None
    for line in mountinfo.splitlines():
        fields = line.split(" ")
        if fields[4] == path:
            found = fields[3]
    return found


def _nameless(folder: str) -> int:
    """Return a file in *folder* that has no name, so that nothing is left when its descriptor is gone."""
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):
            raise
    descriptor, name = tempfile.mkstemp(prefix=".gameday-", dir=folder)
    Path(name).unlink()
    return descriptor
