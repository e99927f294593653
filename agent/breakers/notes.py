"""What a reader of the answer has to know about the recording itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.breakers.paths import Paths, Traffic
    from agent.breakers.view import View

STRANGERS_SHARE = 0.01
DOUBTFUL_SHARE = 0.05


def notes(traffic: Traffic, paths: Paths, whole: View, keys: Mapping[int, str]) -> tuple[str, ...]:
    """Return a sentence for each thing that was not as one would have it."""
    return (*_silent_keys(traffic, paths, keys), *_strangers(whole), *_doubt(whole))


def _silent_keys(traffic: Traffic, paths: Paths, keys: Mapping[int, str]) -> list[str]:
    found = []
    for number, name in keys.items():
        calls = int((traffic.calls.key == number).sum())
        if number not in paths.shares and calls:
            found.append(
                f"None of {calls} calls for the key {name!r} reached a link before the first fault: the service "
                "answers them by itself, or asks somebody else; nothing is said about that key."
            )
    return found


def _strangers(whole: View) -> list[str]:
    strangers, arrivals = whole.mapping.strangers, len(whole.arrivals)
    if strangers <= STRANGERS_SHARE * arrivals:
        return []
    cannot = (
        "" if whole.mapping.by_id else ", and without ids they may have been taken for calls of this test"
    )
    return [
        f"{strangers} of {arrivals} requests over the link belong to no call of this test: somebody else uses the "
        f"dependency too, or it is checked actively{cannot}."
    ]


def _doubt(whole: View) -> list[str]:
    share = whole.mapping.doubtful_share
    if share <= DOUBTFUL_SHARE:
        return []
    return [
        f"The service passes no ids on, and for {share:.0%} of the requests two calls were possible: "
        "let it pass x-request-id or traceparent on, or lower the rate."
    ]
