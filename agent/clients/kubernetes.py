"""The Kubernetes API as raw JSON; with its neighbours the only one to import ``kubernetes``, when it is used.

A client is made for each use, never from a global configuration, so that a token that was renewed in
its file is read anew.  No request is without a time limit, and none is repeated behind our back:
urllib3 would sleep for as long as a ``Retry-After`` says.  Only reads are tried again in here.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import orjson

from agent import __version__
from agent.clients.kubernetes_errors import (
    GONE,
    Changed,
    Forbidden,
    KubernetesError,
    NotThere,
    Unreachable,
    kind_of,
)
from agent.clients.kubernetes_place import Place, configured, own_namespace
from agent.clients.kubernetes_streams import OUTCOME, Attached, check_outcome, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from kubernetes.client import ApiClient
    from urllib3 import HTTPResponse

__all__ = [
    "Api",
    "Attached",
    "Changed",
    "Forbidden",
    "KubernetesError",
    "NotThere",
    "Place",
    "Unreachable",
    "connect",
    "own_namespace",
]

MANAGER = "gameday"
"""The field manager of everything we write: it stands in ``metadata.managedFields``."""
RUN = "gameday/run"
"""Label on whatever a run makes or changes."""
JSON, MERGE = "application/json", "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
TIMEOUT_S = 10.0
PAGE = 500
READ_PAUSES_S = (0.1, 0.4)

type Object = dict[str, Any]


class Api:
    """A connection to one API server; paths begin with ``/``, answers are parsed JSON."""

    def __init__(self, client: ApiClient, place: Place) -> None:
        self._client = client
        self._date: str | None = None
        self.place = place

    @property
    def now(self) -> datetime:
        """The API server's clock, to the second, at its last answer here; ours where it has told none."""
        if self._date is None:
            return datetime.now(UTC)
        return parsedate_to_datetime(self._date).astimezone(UTC)

    def get(self, path: str, *, timeout_s: float = TIMEOUT_S, **query: str | int) -> Object:
        """Return the object at *path*; a passing error is tried again, twice."""
        return _parsed(200, self._read(path, query, timeout_s), f"GET {path}")

    def raw(self, path: str, *, timeout_s: float = TIMEOUT_S) -> bytes:
        """Return what *path* answers, whatever it is, asked once: for the API server's proxies."""
        return self._read_once(path, {}, timeout_s, below=400)

    def _read(self, path: str, query: Mapping[str, str | int], timeout_s: float) -> bytes:
        for pause in READ_PAUSES_S:
            try:
                return self._read_once(path, query, timeout_s)
            except KubernetesError as error:
                if not error.passing:
                    raise
                time.sleep(pause)
        return self._read_once(path, query, timeout_s)

    def _read_once(
        self, path: str, query: Mapping[str, str | int], timeout_s: float, *, below: int = 300
    ) -> bytes:
        with self._answer("GET", path, query, None, timeout_s) as answer:
            data: bytes = answer.data
            if not 200 <= answer.status < below:
                _parsed(answer.status, data, f"GET {path}")
            return data

    def items(self, path: str, *, selector: str = "", fields: str = "", page: int = PAGE) -> Iterator[Object]:
        """Yield what is listed at *path*, page by page, filtered by the server by label and field."""
        return self.pages(path, _read_page, selector=selector, fields=fields, page=page)

    def pages[T](
        self,
        path: str,
        read: Callable[[bytes], tuple[Sequence[T], str]],
        *,
        selector: str = "",
        fields: str = "",
        page: int = PAGE,
    ) -> Iterator[T]:
        """Yield what *read* makes of each page at *path*: its items, and the token of the next or ``""``.

        Raises:
            KubernetesError: An answer is not what *read* (a :class:`ValueError`) expects.
        """
        query: dict[str, str | int] = {"limit": page}
        query |= {"labelSelector": selector} if selector else {}
        query |= {"fieldSelector": fields} if fields else {}
        while True:
            try:
                found, token = read(self._read(path, query, TIMEOUT_S))
            except ValueError as error:
                raise KubernetesError(f"GET {path}: not the list that was asked for: {error}") from error
            except KubernetesError as error:
                if (later := _continue_of(error)) is None:
                    raise
                found, token = (), later
            yield from found
            if not token:
                return
            query["continue"] = token

    def post(self, path: str, body: Object, *, timeout_s: float = TIMEOUT_S, **query: str) -> Object:
        """Create *body* at *path*."""
        return self._call("POST", path, {"fieldManager": MANAGER, **query}, body, timeout_s)

    def put(self, path: str, body: Object, *, timeout_s: float = TIMEOUT_S) -> Object:
        """Replace the object at *path*, if it still has the resource version that *body* names."""
        return self._call("PUT", path, {"fieldManager": MANAGER}, body, timeout_s)

    def patch(
        self,
        path: str,
        body: Object,
        *,
        strategic: bool = False,
        manager: str = MANAGER,
        dry_run: bool = False,
        timeout_s: float = TIMEOUT_S,
    ) -> Object:
        """Merge *body* into the object at *path*: as RFC 7386 says, or by Kubernetes' *strategic* rules.

        *manager* is written down as who set these fields; a *dry_run* goes through everything but the store.
        """
        kind = STRATEGIC if strategic else MERGE
        query = {"fieldManager": manager} | ({"dryRun": "All"} if dry_run else {})
        return self._call("PATCH", path, query, body, timeout_s, kind=kind)

    def watch(self, path: str, *, since: str, timeout_s: float) -> Iterator[Object]:
        """Yield what changes at *path* after the resource version *since*, as ``{"type", "object"}``.

        Ends after *timeout_s*, by the server's clock or a little later by ours; the caller lists again.
        """
        query: dict[str, str | int] = {
            "watch": "true",
            "resourceVersion": since,
            "allowWatchBookmarks": "true",
        }
        query["timeoutSeconds"] = int(timeout_s)
        with self._answer("GET", path, query, None, timeout_s + TIMEOUT_S) as answer:
            if answer.status != 200:
                _parsed(answer.status, answer.data, f"GET {path}")
            for line in answer:
                try:
                    event: Object = orjson.loads(line)
                except ValueError as error:
                    raise KubernetesError(f"GET {path}: the watch ended in the middle of a line") from error
                yield event

    def delete(self, path: str, body: Object | None = None, *, timeout_s: float = TIMEOUT_S) -> Object:
        """Delete the object at *path*; *body* are DeleteOptions."""
        return self._call("DELETE", path, {}, body or {}, timeout_s)

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int],
        body: Object | None,
        timeout_s: float,
        *,
        kind: str = JSON,
    ) -> Object:
        with self._answer(method, path, query, body, timeout_s, kind=kind) as answer:
            return _parsed(answer.status, answer.data, f"{method} {path}")

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int],
        body: Object | None,
        timeout_s: float,
        *,
        kind: str = JSON,
    ) -> Iterator[HTTPResponse]:
        """Send a request and give out its answer, not yet read; what goes wrong meanwhile is a sentence."""
        import urllib3.exceptions  # noqa: PLC0415  # lazily, with kubernetes

        request = self._client.param_serialize(
            method=method,
            resource_path=path,
            query_params=list(query.items()),
            header_params={"Accept": JSON, "Content-Type": kind},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = self._client.call_api(*request, _request_timeout=timeout_s).response
            self._date = answer.headers.get("Date") or self._date
            try:
                yield answer
            finally:
                answer.close()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            says = f"{self.place.server} did not answer {method} {path}: {type(error).__name__}: {error}"
            raise KubernetesError(says) from error

    def exec(
        self,
        namespace: str,
        pod: str,
        container: str,
        command: Sequence[str],
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> str:
        """Run *command* in a container and return what it wrote to both outputs, its errors included.

        Raises:
            Unreachable: The pod's node does not answer the API server.
            KubernetesError: The API server said no.
        """
        what = f"exec in {namespace}/{pod}/{container}"

        def run() -> str:
            asked = [("container", container), *(("command", word) for word in command)]
            asked += [("stdout", "true"), ("stderr", "true")]
            socket = self._stream(f"/api/v1/namespaces/{namespace}/pods/{pod}/exec", asked)
            socket.run_forever(timeout=timeout_s)
            outcome = str(socket.read_channel(OUTCOME))  # first: what comes next forgets all channels
            said = str(socket.read_all())
            socket.close()
            check_outcome(outcome, what)
            return said

        return within(timeout_s + 1.0, run, what, late=lambda _: None)

    def attach(self, namespace: str, pod: str, container: str, *, timeout_s: float = TIMEOUT_S) -> Attached:
        """Open a stream to standard input and output of a running container.

        It outlives this connection; whoever gets it closes it.
        """

        def run() -> Attached:
            asked = [("container", container), ("stdin", "true"), ("stdout", "true"), ("stderr", "false")]
            socket = self._stream(f"/api/v1/namespaces/{namespace}/pods/{pod}/attach", asked)
            return Attached(socket, f"{namespace}/{pod}/{container}")

        what = f"attach to {namespace}/{pod}/{container}"
        return within(timeout_s, run, what, late=lambda attached: attached.close())

    def _stream(self, path: str, query: Sequence[tuple[str, str]]) -> Any:
        """Open a websocket; without the library's typed API, whose import alone takes half a second."""
        from kubernetes.stream.ws_client import websocket_call  # noqa: PLC0415

        method, url, headers, *_ = self._client.param_serialize(
            method="GET", resource_path=path, query_params=list(query), auth_settings=["BearerToken"]
        )
        where = self._client.configuration
        return websocket_call(where, method, url, headers=headers, _preload_content=False)  # type: ignore[no-untyped-call]


@contextmanager
def connect(place: Mapping[str, Any] | None = None) -> Iterator[Api]:
    """Open the cluster of the environment, or the very *place* that an injection was made in.

    The environment's is that of ``KUBECONFIG`` (else ``~/.kube/config``) and ``GAMEDAY_KUBECONTEXT``;
    where there is no such file, the cluster that this process runs in.

    Raises:
        Unsupported: No cluster is configured, or its file cannot be read.
        KubernetesError: *place* is another cluster by now.
    """
    from kubernetes.client import ApiClient  # noqa: PLC0415

    wanted = Place(**place) if place is not None else None
    configuration, found = configured(wanted)
    if wanted is not None and wanted.server != found.server:
        raise KubernetesError(
            f"this was done at {wanted.server}, but {found.kubeconfig or 'this process'} now names "
            f"{found.server}; give the old kubeconfig back its place and heal again"
        )
    with ApiClient(configuration) as client:
        client.user_agent = f"gameday/{__version__}"
        yield Api(client, found)


def _read_page(data: bytes) -> tuple[Sequence[Object], str]:
    page = orjson.loads(data)
    return page["items"], page["metadata"].get("continue", "")


def _continue_of(error: KubernetesError) -> str | None:
    """Return where to go on with a list whose moment is no longer kept: behind what was read, as of now.

    Source:
        Kubernetes API Concepts, "Retrieving large results sets in chunks"; ``ListMeta.continue``.
    """
    return (error.body.get("metadata") or {}).get("continue") if error.status == GONE else None


def _parsed(status: int, data: bytes, what: str) -> Object:
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError:
        body = {"message": data[:200].decode(errors="replace").strip()}
    if not isinstance(body, dict):
        body = {"message": str(body)[:200]}
    if 200 <= status < 300:
        return body
    message = body.get("message") or body.get("reason") or "no reason given"
    hint = "; is the token expired?" if status == 401 else ""
    raise kind_of(status, message)(f"{what}: {status}: {message}{hint}", status=status, body=body)
