"""A stream to standard input and output of a running container, and what may come of opening one."""

from __future__ import annotations

import ast
import json
import re
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from agent.clients.kubernetes_errors import KubernetesError, NotRunning, Unreachable, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable

_HANDSHAKE = re.compile(r"Handshake status (\d+) (.*?) -\+-\+- .* -\+-\+- (.*)", re.DOTALL)
"""How the websocket library says that a stream was not opened: status, reason, headers, body."""
_NO_WAY = ("error dialing backend", "dial tcp", "no route to host", "TLS handshake timeout", "i/o timeout")
"""What the API server says when it does not get through to a node."""
_NOT_RUNNING = (
    "does not have a host assigned",
    "pod does not exist",
    "container not found",
    "not found in pod",
    "container is in CONTAINER_",
)
"""What the API server, the kubelet and its runtime say when there is nobody in a container to speak to.

Source: registry/core/pod/strategy.go, streamLocation; pkg/kubelet/server/server.go and kubelet_pods.go,
GetAttach; containerd, internal/cri/server/container_attach.go.
"""
OUTCOME = 3
"""The channel on which the API server says how a command ended, or why it could not begin."""


class Attached:
    """Both directions of a container's standard input and output, a line at a time."""

    def __init__(self, socket: Any, name: str) -> None:
        self._socket = socket
        self._name = name
        self._rest = ""

    def say(self, line: str) -> None:
        """Send *line*.

        Raises:
            KubernetesError: The stream has ended.
        """
        from websocket import WebSocketException  # noqa: PLC0415  # lazily, as kubernetes itself

        try:
            self._socket.write_stdin(line + "\n")
        except (OSError, WebSocketException) as error:
            raise self._ended(error) from error

    def hear(self, *, timeout_s: float) -> str:
        """Return the next line.

        Raises:
            NotRunning: There was nobody to hear from: the API server opens a stream before it asks the node.
            KubernetesError: The stream has ended, or nothing came in time.
        """
        from websocket import WebSocketException  # noqa: PLC0415  # lazily, as kubernetes itself

        deadline = time.monotonic() + timeout_s
        try:
            while "\n" not in self._rest:
                left = deadline - time.monotonic()
                is_open = self._socket.is_open()
                chunk = self._socket.read_stdout(timeout=max(0.0, left))
                if not chunk and not is_open:
                    raise self._ended()
                if not chunk and left <= 0:
                    raise KubernetesError(f"the stream from {self._name} said nothing for {timeout_s:g} s")
                self._rest += chunk
        except (OSError, WebSocketException) as error:
            raise self._ended(error) from error
        line, _, self._rest = self._rest.partition("\n")
        return line

    def _ended(self, error: Exception | None = None) -> KubernetesError:
        """Return why the stream is over, as far as the API server has told."""
        outcome = ""
        with suppress(Exception):  # what it told may be lost in any way, too
            outcome = _message(str(self._socket.read_channel(OUTCOME)))
        why = outcome or str(error or "")
        says = f"the stream to {self._name} has ended{': ' if why else ''}{why}"
        return _kind(outcome, KubernetesError)(says)

    def close(self) -> None:
        """End it, which the container sees as the end of its input."""
        with suppress(Exception):  # it may have ended in any way already
            self._socket.close()


def within[T](timeout_s: float, call: Callable[[], T], what: str, *, late: Callable[[T], None]) -> T:
    """Return what *call* returns; the library has no time limit for opening a stream.

    *late* gets what it returns after all when nobody waits any more.

    Raises:
        Unreachable: It took longer than *timeout_s*.
        KubernetesError: It was refused.
    """
    outcome: list[T | Exception] = []
    decided = threading.Lock()
    given_up = False

    def go() -> None:
        try:
            found: T | Exception = call()
        except Exception as error:  # noqa: BLE001  # boundary: handed over to whoever waits
            found = error
        with decided:
            if not given_up:
                outcome.append(found)
                return
        if not isinstance(found, Exception):
            late(found)

    thread = threading.Thread(target=go, daemon=True, name="opening a stream")
    thread.start()
    thread.join(timeout_s)
    with decided:
        given_up = not outcome
    if given_up:
        raise Unreachable(f"{what}: nothing was heard for {timeout_s:g} s")
    if isinstance(outcome[0], KubernetesError):
        raise outcome[0]
    if isinstance(outcome[0], Exception):
        raise refusal(outcome[0], what) from outcome[0]
    return outcome[0]


def check_outcome(outcome: str, what: str) -> None:
    """Tell of a command that never began: the API server opens its stream before it asks the node.

    Raises:
        Unreachable: The node said nothing, or the API server that it cannot get there.
        NotRunning: There is no such container that runs.
    """
    if not outcome:
        raise Unreachable(f"{what}: nothing was heard of how it ended")
    message = _message(outcome)
    if (kind := _kind(message, KubernetesError)) is not KubernetesError:
        raise kind(f"{what}: {message}")


def refusal(error: Exception, what: str) -> KubernetesError:
    """Return *error* of the stream library as one of ours, with the API server's own words."""
    says = str(getattr(error, "reason", None) or error)
    found = _HANDSHAKE.match(says)
    if found is None:
        return KubernetesError(f"{what}: {says}")
    status, body = int(found[1]), found[3].strip()
    if body.startswith(("b'", 'b"')):
        with suppress(ValueError, SyntaxError):
            body = ast.literal_eval(body).decode(errors="replace")
    message = _message(body) or found[2]
    kind = _kind(message, kind_of(status, message), unreachable=status >= 500)
    return kind(f"{what}: {status}: {message}", status=status)


def _message(outcome: str) -> str:
    """Return what a ``Status`` object says; anything else as it is."""
    with suppress(ValueError, AttributeError):
        return json.loads(outcome).get("message") or outcome
    return outcome


def _kind(
    message: str, otherwise: type[KubernetesError], *, unreachable: bool = True
) -> type[KubernetesError]:
    if any(each in message for each in _NOT_RUNNING):
        return NotRunning
    return Unreachable if unreachable and any(each in message for each in _NO_WAY) else otherwise
