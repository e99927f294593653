"""What a Job is told: the experiment and the part of the environment that is meant for it."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from agent.model import Refused
from agent.settings import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.catalog.experiment import Experiment
    from agent.clients.kubernetes import Object

KEY = "order.json"
"""The file in the Secret."""
BYTES_MAX = 900_000
"""A Secret holds a mebibyte, its own frame included."""
SETTINGS = (
    "NAMESPACES",
    "OPT_IN",
    "IMAGE",
    "LEASE_S",
    "RADIUS_COUNT",
    "LOG_LEVEL",
    "PROXY",
    "PROXY_TOKEN",
    "SANDBOX_URL",
)
"""The settings that mean the same in there; every other one is about this process or its machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One run, as the pod of its Job is told; the whole of it is a secret, as its environment may be."""

    run: str
    path: str
    definition: Mapping[str, Any]
    leashed: bool
    because: str
    environ: Mapping[str, str]

    def secret(self, name: str, owner: Object) -> Object:
        """Return the Secret that carries this order, owned by the Job *owner*.

        Raises:
            Refused: It is too large for one.
        """
        text = json.dumps(asdict(self), default=str).encode()
        if len(text) > BYTES_MAX:
            raise Refused(
                f"the experiment has {len(text)} bytes, a Job can be told {BYTES_MAX}; nothing was started"
            )
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "ownerReferences": [owner]},
            "immutable": True,
            "data": {KEY: base64.b64encode(text).decode()},
        }


def parse(text: str) -> Order:
    """Return the order in *text*, as :meth:`Order.secret` wrote it."""
    return Order(**json.loads(text))


def environ_for(experiment: Experiment, environ: Mapping[str, str]) -> dict[str, str]:
    """Return what of *environ* a Job needs: the settings that mean the same there, and what the file names.

    Nothing else leaves this process: neither its own secrets nor its paths.
    """
    wanted = {PREFIX + name for name in SETTINGS} | set(_named(experiment.definition))
    return {name: environ[name] for name in sorted(wanted & environ.keys())}


def _named(definition: Mapping[str, Any]) -> Iterator[str]:
    """Yield the environment variables that configuration and secrets of *definition* are read from."""
    groups = [definition.get("configuration", {}), *definition.get("secrets", {}).values()]
    for group in groups:
        for value in group.values() if isinstance(group, dict) else ():
            if isinstance(value, dict) and value.get("type") == "env" and isinstance(value.get("key"), str):
                yield value["key"]
