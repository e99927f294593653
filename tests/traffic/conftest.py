"""A server that answers, fails, hangs or cuts, and the heads of the requests it saw."""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trustme

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ANSWERS = {
    b"/ok": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    b"/degraded": b"HTTP/1.1 200 OK\r\nX-Degraded: x\r\ncontent-length: 0\r\n\r\n",
    b"/error": b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n",
    b"/hang": b"",
    b"/cut": b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok",
}


@pytest.fixture
def server() -> Iterator[tuple[str, list[bytes]]]:
    """A server on loopback and the heads of the requests it saw."""
    with serving() as told:
        yield told


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[tuple[str, list[bytes], Path]]:
    """The same behind TLS, and the file with the authority that signed its certificate."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    with serving(context) as (url, seen):
        yield url, seen, file


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[bytes]]]:
    """Serve :data:`ANSWERS` meanwhile."""
    seen: list[bytes] = []
    ready, loop = threading.Event(), asyncio.new_event_loop()
    where: list[Any] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                seen.append(head)
                path = head.split(b" ")[1].partition(b"?")[0]
                writer.write(ANSWERS[path])
                if path == b"/cut":
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def main() -> None:
        where.append(await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls))
        ready.set()

    loop.create_task(main())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    ready.wait(10)
    scheme = "http" if tls is None else "https"
    yield f"{scheme}://127.0.0.1:{where[0].sockets[0].getsockname()[1]}", seen

    async def stop() -> None:
        where[0].close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)
        loop.stop()

    asyncio.run_coroutine_threadsafe(stop(), loop)
    thread.join()
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
