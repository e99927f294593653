"""Puts a link where it is needed for a while: on the proxy that runs here, or on one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from agent.model import UsageError
from agent.proxy.client import ProxyClient, ProxyUnreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.settings import Settings

UP_WITHIN_S = 10.0


@contextmanager
def link_in_place(settings: Settings, name: str, *, listen: str, upstream: str) -> Iterator[None]:
    """Have the link *name* from *listen* to *upstream* meanwhile; without them it must be there.

    Raises:
        UsageError: The address cannot be listened on.
        ProxyUnreachable: No link is to be made, and no proxy runs.
    """
    try:
        names = [each["name"] for each in ProxyClient.of(settings).links()]
    except ProxyUnreachable:
        if not listen:
            raise
        with _proxy_of_its_own(settings, f"{name}={listen}->{upstream}"):
            yield
        return
    if listen and name in names:
        raise UsageError(
            f"the proxy of this home has a link {name!r} already; leave out --listen and --upstream"
        )
    if listen:
        ProxyClient.of(settings).put_link(name, listen=listen, upstream=upstream)
    yield


@contextmanager
def _proxy_of_its_own(settings: Settings, link: str) -> Iterator[None]:
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    lifeline, ours = os.pipe()
    command = [sys.executable, "-m", "agent.proxy", "--home", str(settings.home), "--link", link]
    process = subprocess.Popen(
        [*command, "--lifeline-fd", str(lifeline)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # ours carries results only
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=[lifeline],
        start_new_session=True,  # a Ctrl-C here heals first, and that needs the proxy
    )
    os.close(lifeline)
    try:
        deadline = time.monotonic() + UP_WITHIN_S
        while not _is_up(settings):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                said = process.communicate()[1].strip().splitlines()
                raise UsageError(
                    f"the link {link} did not come up: {said[-1] if said else 'no reason given'}"
                )
            time.sleep(0.02)
        yield
    finally:
        os.close(ours)
        process.communicate()


def _is_up(settings: Settings) -> bool:
    try:
        ProxyClient.of(settings).links()
    except ProxyUnreachable:
        return False
    return True
