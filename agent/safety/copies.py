"""Copies of the ledger's entries on the Job that a run lives in, for when the ledger dies with its node.

The ledger itself stays in the pod, and healing there never needs a copy.  A copy is written ahead of
the harm, like the entry: whoever finds the pod dead undoes and checks what the copies name.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from agent import settings as settings_of
from agent.model import Call, Injection, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.model import Json

ENTRY = "gameday/injection-"
"""Annotation of the Job; one for each injection."""


class NotCopied(Refused):
    """The copy of a ledger entry could not be written; nothing was touched."""


def announce(injection: Injection) -> None:
    """Write the copy of *injection* where this process runs in a Job; nothing to do elsewhere.

    Raises:
        NotCopied: The Job could not be changed, so nothing may be broken.
    """
    place = settings_of.current().job
    if place is None:
        return
    from agent.clients import jobs  # noqa: PLC0415  # outside of a Job no injection pays for them
    from agent.clients.kubernetes import KubernetesError, connect  # noqa: PLC0415

    namespace, name, uid = place.split("/")
    annotations = {ENTRY + injection.id: json.dumps(asdict(injection))}
    try:
        with connect() as api:
            api.patch(jobs.path_of(namespace, name), {"metadata": {"uid": uid, "annotations": annotations}})
    except KubernetesError as error:
        raise NotCopied(
            f"{injection.fault}: its record could not be copied to Job {namespace}/{name}, and would be "
            f"lost with this pod: {error}; nothing was touched"
        ) from error


def copies(annotations: Mapping[str, str], *, place: Mapping[str, Json]) -> Iterator[Injection]:
    """Yield the injections that a Job's *annotations* name, as they are undone from out here.

    Inside the cluster it has no kubeconfig; *place* is the same cluster as this process calls it.
    """
    for key, text in sorted(annotations.items()):
        if key.startswith(ENTRY):
            yield from_here(Injection.from_json(json.loads(text)), place)


def from_here(injection: Injection, place: Mapping[str, Json]) -> Injection:
    """Return *injection* with its calls' cluster as this process reaches it."""
    calls: dict[str, Any] = {}
    for name in ("undo", "landed_check", "gone_check", "renew"):
        call: Call | None = getattr(injection, name)
        if call is None:
            continue
        there = call.arguments.get("place")
        if isinstance(there, dict) and there.get("kubeconfig") is None:
            calls[name] = replace(call, arguments={**call.arguments, "place": dict(place)})
    return replace(injection, **calls)
