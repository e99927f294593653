"""Puts links where they are needed for a while: on the proxy that runs here, or on one of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.model import UsageError
from agent.proxy.client import ProxyClient, ProxyUnreachable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.settings import Settings

UP_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A link by name; where it listens and leads to, both empty for one that is there already."""

    name: str
    listen: str = ""
    upstream: str = ""

    @classmethod
    def parse(cls, text: str) -> Place:
        """Read ``NAME`` or ``NAME=LISTEN->UPSTREAM``.

        Raises:
            UsageError: It is neither.
        """
        name, equals, rest = text.partition("=")
        listen, arrow, upstream = rest.partition("->")
        if not name.strip() or (equals and not (arrow and listen.strip() and upstream.strip())):
            raise UsageError(f"--link {text!r}: write NAME=LISTEN->UPSTREAM, or NAME for one that is there")
        return cls(name=name.strip(), listen=listen.strip(), upstream=upstream.strip())

    def __str__(self) -> str:
        """Return what :meth:`parse` reads."""
        return f"{self.name}={self.listen}->{self.upstream}" if self.listen else self.name


@contextmanager
def links_in_place(settings: Settings, places: Sequence[Place]) -> Iterator[None]:
    """Have the links of *places* meanwhile, on the proxy of this home or else on one of their own.

    Raises:
        UsageError: An address cannot be listened on, or a link's name is taken.
        ProxyUnreachable: A link should be there already, and no proxy runs.
    """
    made = [each for each in places if each.listen]
    if not places:
        yield
        return
    try:
        client = ProxyClient.of(settings)
        names = [each["name"] for each in client.links()]
    except ProxyUnreachable:
        if len(made) < len(places):
            raise
        with _proxy_of_its_own(settings, places):
            yield
        return
    if taken := [each.name for each in made if each.name in names]:
        raise UsageError(
            f"the proxy of this home has a link {taken[0]!r} already; name it alone, without addresses"
        )
    for each in made:
        client.put_link(each.name, listen=each.listen, upstream=each.upstream)
    yield


@contextmanager
def _proxy_of_its_own(settings: Settings, places: Sequence[Place]) -> Iterator[None]:
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    lifeline, ours = os.pipe()
    command = [sys.executable, "-m", "agent.proxy", "--home", str(settings.home)]
    for each in places:
        command += ["--link", str(each)]
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
                names = ", ".join(map(str, places))
                raise UsageError(f"no link for {names}: {said[-1] if said else 'no reason given'}")
            time.sleep(0.02)
        yield
    finally:
        os.close(ours)
        if process.returncode is None:
            process.communicate()


def _is_up(settings: Settings) -> bool:
    try:
        ProxyClient.of(settings).links()
    except ProxyUnreachable:
        return False
    return True
