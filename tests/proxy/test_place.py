"""A link that is there for a while, on a proxy of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent import settings
from agent.proxy.client import ProxyClient
from agent.proxy.place import Place, links_in_place

if TYPE_CHECKING:
    import pytest


def test_a_link_of_its_own_says_nothing_on_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    """The command's stdout is for its one result, so the proxy beside it keeps quiet."""
    found = settings.current()
    with links_in_place(found, [Place(name="dependency", listen="127.0.0.1:0", upstream="127.0.0.1:1")]):
        assert [each["name"] for each in ProxyClient.of(found).links()] == ["dependency"]
    assert capfd.readouterr().out == ""
