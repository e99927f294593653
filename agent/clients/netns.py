"""Network namespaces of Linux: find one by name or process, find it again later, do something inside."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent.model import NoTargets, Unsupported, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAMED = Path("/run/netns")
PROC = Path("/proc")
OWN = PROC / "thread-self" / "ns" / "net"
CLOCK_SLACK_S = 1.0
"""Two readings of a process's start differ by this much at most: the wall clock may be stepped."""


class NamespaceGone(NoTargets):
    """No process and no name holds this network namespace any more, as far as this process can see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A network namespace: where it was found, and the inode that tells whether it is still the same.

    Names and pids are reused, so the path is a hint and the inode decides.
    """

    path: str
    inode: int

    @property
    def is_own(self) -> bool:
        """Whether this is the namespace that the agent itself runs in."""
        return OWN.stat().st_ino == self.inode

    @contextmanager
    def opened(self) -> Iterator[int]:
        """Yield a descriptor of the namespace.

        Raises:
            NamespaceGone: It cannot be found any more.
        """
        descriptor = _find(self)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def inside[T](self, work: Callable[[], T]) -> T:
        """Return what *work* returns when it runs inside this namespace.

        It runs in a thread made for it, because a namespace belongs to a thread; processes that it
        starts and sockets that it opens are inside as well.

        Raises:
            NamespaceGone: It cannot be found any more; *work* was not called.
        """
        if self.is_own:
            return work()
        with self.opened() as descriptor:
            return _in_thread(lambda: os.setns(descriptor, os.CLONE_NEWNET), work)


def own() -> Namespace:
    """Return the network namespace that the agent itself runs in."""
    return Namespace(path=str(OWN), inode=OWN.stat().st_ino)


def named(name: str) -> Namespace:
    """Return the namespace that ``ip netns`` calls *name*.

    Raises:
        UsageError: This cannot be a name.
        NoTargets: There is none of that name.
    """
    if not name or "/" in name or name in {".", ".."}:
        raise UsageError(f"netns: {name!r} cannot be the name of a network namespace")
    return _at(NAMED / name, f"no network namespace is called {name}: `ip netns list` shows them")


def of_process(pid: int, *, created: float | None = None) -> Namespace:
    """Return the namespace of process *pid*.

    Args:
        pid: The process.
        created: When that process began, in seconds since the epoch; None takes whoever has the pid.

    Raises:
        NoTargets: There is no such process, or the pid belongs to another one by now.
    """
    if pid < 1:
        raise UsageError(f"pid: {pid} cannot be the id of a process")
    missing = f"no process {pid} lives here"
    space = _at(PROC / str(pid) / "ns" / "net", missing)
    from agent.clients.processes import created_at  # noqa: PLC0415  # its library is slow to start

    began = created_at(pid)
    if began is None:
        raise NoTargets(missing)
    if created is not None and abs(began - created) > CLOCK_SLACK_S:
        raise NoTargets(f"process {pid} began at {began:.2f}, not at {created:.2f}: the pid was reused")
    return space


def find(name: str | None, *, pid: int | None, created: float | None) -> Namespace:
    """Return the namespace called *name*, that of process *pid*, or, with neither, the agent's own.

    Raises:
        UsageError: Both are given.
        NoTargets: There is no such namespace or process.
        Unsupported: This system has no network namespaces, or they may not be looked at.
    """
    if not OWN.exists():
        raise Unsupported("unsupported: network namespaces need Linux")
    if name is not None and pid is not None:
        raise UsageError("give netns or pid, not both")
    if created is not None and pid is None:
        raise UsageError("created: is when process pid began; give pid too")
    if name is not None:
        return named(name)
    return own() if pid is None else of_process(pid, created=created)


def thrown_away[T](work: Callable[[], T]) -> T:
    """Return what *work* returns when it runs inside a new namespace that ends with it.

    Raises:
        Unsupported: This process may not make one.
    """
    try:
        return _in_thread(lambda: os.unshare(os.CLONE_NEWNET), work)
    except PermissionError as error:
        raise Unsupported("unsupported: network namespaces need root (CAP_SYS_ADMIN)") from error


def _at(path: Path, missing: str) -> Namespace:
    try:
        return Namespace(path=str(path), inode=path.stat().st_ino)
    except FileNotFoundError:
        raise NoTargets(missing) from None
    except PermissionError:
        raise Unsupported(f"unsupported: {path} needs root (CAP_SYS_ADMIN and CAP_NET_ADMIN)") from None


def _find(space: Namespace) -> int:
    for path in _places(space):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue  # the process ended or the name went while we looked
        if os.fstat(descriptor).st_ino == space.inode:
            return descriptor
        os.close(descriptor)
    raise NamespaceGone(f"network namespace {space.path} (inode {space.inode}) is gone")


def _places(space: Namespace) -> Iterator[Path]:
    yield Path(space.path)
    if NAMED.is_dir():
        yield from NAMED.iterdir()
    yield from (p / "ns" / "net" for p in PROC.iterdir() if p.name.isdecimal())


def _in_thread[T](enter: Callable[[], None], work: Callable[[], T]) -> T:
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            enter()
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - handed on to the caller's thread, whatever it is
            errors.append(error)

    thread = threading.Thread(target=body, name="netns")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
