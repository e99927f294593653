"""A stream to standard input and output of a running container."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from agent.clients.kubernetes_errors import KubernetesError


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
            raise KubernetesError(f"the stream to {self._name} has ended: {error}") from error

    def hear(self, *, timeout_s: float) -> str:
        """Return the next line.

        Raises:
            KubernetesError: The stream has ended, or nothing came in time.
        """
        from websocket import WebSocketException  # noqa: PLC0415  # lazily, as kubernetes itself

        deadline = time.monotonic() + timeout_s
        try:
            while "\n" not in self._rest:
                left = deadline - time.monotonic()
                is_open = self._socket.is_open()
                chunk = self._socket.read_stdout(timeout=max(0.0, left))
                if not chunk and (left <= 0 or not is_open):
                    why = f"said nothing for {timeout_s:g} s" if is_open else "has ended"
                    raise KubernetesError(f"the stream from {self._name} {why}")
                self._rest += chunk
        except (OSError, WebSocketException) as error:
            raise KubernetesError(f"the stream from {self._name} has ended: {error}") from error
        line, _, self._rest = self._rest.partition("\n")
        return line

    def close(self) -> None:
        """End it, which the container sees as the end of its input."""
        with suppress(Exception):  # it may have ended in any way already
            self._socket.close()
