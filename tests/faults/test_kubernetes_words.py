"""What the API server says instead of doing what it was asked to, and what is made of it."""

from __future__ import annotations

import json

import pytest

from agent.clients.kubernetes_errors import (
    Forbidden,
    KubernetesError,
    NotRunning,
    NotThere,
    Unreachable,
    kind_of,
)
from agent.clients.kubernetes_streams import check_outcome, refusal

NOBODY = "unable to upgrade connection: container gameday-1 not found in pod web_shop"
NO_NODE = "error dialing backend: dial tcp 10.0.0.7:10250: connect: no route to host"
DOWN = 'Internal error occurred: failed calling webhook "board.example": failed to call webhook: Post "…"'


class _Handshake(Exception):
    """As the stream library raises it."""

    def __init__(self, status: int, message: str) -> None:
        body = json.dumps({"kind": "Status", "message": message, "code": status})
        self.reason = f"Handshake status {status} No -+-+- {{}} -+-+- {body.encode()!r}"


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (500, NOBODY, NotRunning),
        (400, "pod web does not have a host assigned", NotRunning),
        (500, "rpc error: code = Unknown desc = container is in CONTAINER_CREATED state", NotRunning),
        (500, NO_NODE, Unreachable),
        (403, "pods is forbidden: no route to host", Forbidden),
        (404, 'pods "web" not found', NotThere),
        (500, "something else", KubernetesError),
    ],
)
def test_a_stream_that_is_refused_says_whether_waiting_helps(
    status: int, message: str, kind: type[KubernetesError]
) -> None:
    """A container that does not run yet is another thing than a node that is away, or a missing right."""
    found = refusal(_Handshake(status, message), "attach to shop/web/gameday-1")
    assert (type(found), found.status) == (kind, status)
    assert message in str(found)


@pytest.mark.parametrize(
    ("outcome", "kind"), [("", Unreachable), (NO_NODE, Unreachable), (NOBODY, NotRunning)]
)
def test_a_command_that_never_began_is_not_taken_for_one_that_ran(
    outcome: str, kind: type[KubernetesError]
) -> None:
    """The stream was opened all the same, and the reason comes over it."""
    with pytest.raises(kind):
        check_outcome(json.dumps({"message": outcome}) if outcome else "", "exec in shop/web/gameday-1")


def test_a_command_that_ended_badly_has_been_carried_out() -> None:
    """Its own exit code is no reason to think that it never ran."""
    check_outcome(json.dumps({"message": "command terminated with non-zero exit code"}), "exec")


@pytest.mark.parametrize(
    ("status", "message", "undone"),
    [
        (429, "too many requests", True),
        (500, DOWN, True),
        (500, "etcdserver: timeout", False),
        (None, DOWN, False),
    ],
)
def test_what_a_webhook_that_is_down_held_up_has_surely_not_been_done(
    status: int | None, message: str, *, undone: bool
) -> None:
    """Other failures of the server may have come after the deed, and so may a silence."""
    error = kind_of(status or 0, message)(message, status=status)
    assert (error.surely_undone, error.passing) == (undone, True)
