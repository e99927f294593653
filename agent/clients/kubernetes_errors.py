"""What the API server may say instead of doing what it was asked to, each with its HTTP status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.model import GamedayError

if TYPE_CHECKING:
    from collections.abc import Mapping

PASSING = frozenset({429, 500, 502, 503, 504})
"""Answers that the next try may not get."""
TOO_MANY, GONE = 429, 410
NO_WEBHOOK = "failed calling webhook"
"""How the API server says (as 500) that a webhook is down that it has to ask first (``failurePolicy: Fail``).

Source: k8s.io/apiserver/pkg/util/webhook/error.go, ErrCallingWebhook.
"""


class KubernetesError(GamedayError):
    """The API server did not do what it was asked to; ``status`` is None when it did not answer at all."""

    def __init__(
        self, says: str, *, status: int | None = None, body: Mapping[str, Any] | None = None
    ) -> None:
        """Keep the HTTP status and the ``Status`` object beside the sentence."""
        super().__init__(says)
        self.status = status
        self.body = dict(body or {})

    @property
    def passing(self) -> bool:
        """Whether the next try may be answered differently: no answer, overload, a fault of the server."""
        return self.status is None or self.status in PASSING

    @property
    def surely_undone(self) -> bool:
        """Whether what was asked for has surely not been done: too busy, or a webhook could not be asked."""
        return self.status == TOO_MANY or (self.status is not None and NO_WEBHOOK in str(self))


class NotThere(KubernetesError):
    """There is no such object (404)."""


class Changed(KubernetesError):
    """The object is not, or no longer, as the precondition says (409)."""


class Forbidden(KubernetesError):
    """The API server knows us and does not let us (403), or something in front of it denies (any 4xx)."""


class Unreachable(KubernetesError):
    """The API server answers; the node of the pod that is to be spoken to answers it not, or too late."""


class NotRunning(KubernetesError):
    """The container that is to be spoken to does not run: not yet, or no more."""


DENIALS = ("denied request", "denied the request")
"""How a policy and a webhook say no; the status that goes with it is theirs to choose (422 by default)."""
KINDS: dict[int, type[KubernetesError]] = {403: Forbidden, 404: NotThere, 409: Changed}


def kind_of(status: int, message: str) -> type[KubernetesError]:
    """Return the error that an answer is, by its status and, where admission was denied, by its words."""
    if 400 <= status < 500 and any(each in message for each in DENIALS):
        return Forbidden
    return KINDS.get(status, KubernetesError)
