"""Talks to a fault proxy's API; small and quick to import, because rescuers use it."""

from __future__ import annotations

import http.client
import json
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from agent.model import GamedayError, UsageError

if TYPE_CHECKING:
    from agent.settings import Settings

TIMEOUT_S = 3.0


class ProxyUnreachable(GamedayError):
    """The fault proxy does not answer; what it holds ends with its leases."""


class ProxyGone(ProxyUnreachable):
    """No process listens at the proxy's address; its links and toxics ended with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyClient:
    """A fault proxy by its API's address (``host:port`` or ``unix:/path``) and token."""

    api: str
    token: str | None = None
    timeout_s: float = TIMEOUT_S

    @classmethod
    def of(cls, settings: Settings, api: str | None = None) -> ProxyClient:
        """Return the proxy that is named by *api* or the settings, else the one of this home.

        Raises:
            ProxyUnreachable: None is named, and none runs in this home.
        """
        state: dict[str, Any] = {}
        path = settings.home / "proxy.json"
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            raise ProxyUnreachable(f"{path} cannot be read: {error}") from error
        where = api or settings.proxy or state.get("api")
        if where is None:
            raise ProxyUnreachable(
                f"no fault proxy is named and none runs in {settings.home}; start one with "
                "`gameday sandbox up` or `gameday proxy`, or set GAMEDAY_PROXY",
            )
        where = where.removeprefix("http://")
        token = settings.proxy_token or (state.get("token") if state.get("api") == where else None)
        return cls(api=where, token=token)

    def links(self) -> list[dict[str, Any]]:
        """Return every link with its toxics."""
        links: list[dict[str, Any]] = self._call("GET", "/links")["links"]
        return links

    def put_link(self, name: str, *, listen: str, upstream: str) -> dict[str, Any]:
        """Open a link."""
        return self._call("PUT", f"/links/{quote(name, safe='')}", {"listen": listen, "upstream": upstream})

    def put_toxic(self, link: str, toxic: str, **fields: Any) -> dict[str, Any]:
        """Put a toxic on *link*; it ends by itself."""
        return self._call("PUT", _toxic(link, toxic), fields)

    def get_toxic(self, link: str, toxic: str) -> dict[str, Any]:
        """Return the toxic, ``{"found": false}`` if it is not there."""
        return self._call("GET", _toxic(link, toxic))

    def delete_toxic(self, link: str, toxic: str) -> dict[str, Any]:
        """Take the toxic off and return its dose, ``{"found": false}`` if it is not there."""
        return self._call("DELETE", _toxic(link, toxic))

    def renew_toxic(self, link: str, toxic: str, lease_s: float) -> dict[str, Any]:
        """Extend the toxic's lease."""
        return self._call("POST", _toxic(link, toxic) + "/renew", {"lease_s": lease_s})

    def arrivals(self, since: int = 0, limit: int = 1000) -> list[dict[str, Any]]:
        """Return arrivals after the number *since*."""
        found: list[dict[str, Any]] = self._call("GET", f"/arrivals?since={since}&limit={limit}")["arrivals"]
        return found

    def last_seq(self) -> int:
        """Return the number of the last arrival so far."""
        return int(self._call("GET", "/arrivals?limit=1")["seq"])

    def clock(self) -> None:
        """Return nothing: the proxy is on this host, and its monotonic clock is ours."""

    def open_requests(self, link: str) -> list[dict[str, Any]]:
        """Return the requests on *link* that have no answer yet, as arrivals without a ``seq``."""
        found: list[dict[str, Any]] = self._call("GET", f"/links/{quote(link, safe='')}/open")["open"]
        return found

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        connection = self._connection()
        headers = {"authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            parsed: dict[str, Any] = json.loads(answer.read(1 << 26))
        except (ConnectionRefusedError, FileNotFoundError) as error:
            raise ProxyGone(f"no fault proxy runs at {self.api}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ProxyUnreachable(f"the fault proxy at {self.api} does not answer: {error}") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise UsageError(f"the fault proxy at {self.api}: {parsed.get('error', answer.status)}")
        return parsed

    def _connection(self) -> http.client.HTTPConnection:
        if self.api.startswith("unix:"):
            return _UnixConnection(self.api.removeprefix("unix:"), self.timeout_s)
        return http.client.HTTPConnection(self.api, timeout=self.timeout_s)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _toxic(link: str, toxic: str) -> str:
    return f"/links/{quote(link, safe='')}/toxics/{quote(toxic, safe='')}"
