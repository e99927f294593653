"""What a reader of the answer has to know about the recording itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.breakers.paths import Paths, Traffic
    from agent.breakers.view import View

STRANGERS_SHARE = 0.01
DOUBTFUL_SHARE = 0.05
BLURRED = "; without ids, others of them may have been taken for calls of this test."


def notes(traffic: Traffic, paths: Paths, whole: View, keys: Mapping[int, str]) -> tuple[str, ...]:
    """Return a sentence for each thing that was not as one would have it."""
    return (*_silent_keys(traffic, paths, keys), *_strangers(whole), *_doubt(whole))


def _silent_keys(traffic: Traffic, paths: Paths, keys: Mapping[int, str]) -> list[str]:
    counts = {number: int((traffic.calls.key == number).sum()) for number in keys}
    return [
        f"None of {counts[number]} calls for the key {name!r} reached a link while nothing was wrong: the "
        "service answers them by itself, or asks somebody else. Nothing is said about that key."
        for number, name in keys.items()
        if number not in paths.shares and counts[number]
    ]


def _strangers(whole: View) -> list[str]:
    strangers, arrivals = whole.mapping.strangers, len(whole.arrivals)
    if strangers <= STRANGERS_SHARE * arrivals:
        return []
    says = (
        f"{strangers} of {arrivals} requests over the link belong to no call of this test: somebody else "
        "uses the dependency too, or it is checked actively"
    )
    if whole.mapping.beat is not None:
        says += f" (something asks every {whole.mapping.beat.period_s:.2f} s, and that is left out)"
    return [says + (". They are left out." if whole.mapping.by_id else BLURRED)]


def _doubt(whole: View) -> list[str]:
    share = whole.mapping.doubtful_share
    says = (
        f"The service passes no ids on, and for {share:.0%} of the requests two calls were possible: let it "
        "pass x-request-id or traceparent on, or lower the rate."
    )
    return [says] if share > DOUBTFUL_SHARE else []
