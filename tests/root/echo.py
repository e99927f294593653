"""An echo server on some ports, both IP versions; says ready on stdout."""

from __future__ import annotations

import asyncio
import sys


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def _main(ports: list[int]) -> None:
    for port in ports:
        await asyncio.start_server(_echo, ["0.0.0.0", "::"], port)
    print("ready", flush=True)  # noqa: T201  # the test waits for this line
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main([int(port) for port in sys.argv[1:]]))
