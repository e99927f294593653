"""How much of a pod's processors, memory or volumes a fault takes: what was asked for, against its limits."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from agent import settings as settings_of
from agent.clients.quantities import amount
from agent.injector.orders import Fill, Stress
from agent.model import NoTargets, Unsupported, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.clients.kubernetes import Api
    from agent.faults.cluster.pod_choice import Target
    from agent.model import Json

VOLUME = "/gameday/volume"
"""Where the injector sees the volume that it fills."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How much processor time and memory, as the arguments of a fault say it."""

    cpu_fraction: float | None
    cores: float | None
    memory_fraction: float | None
    memory_bytes: int | None

    def check(self) -> None:
        """Refuse what makes no sense.

        Raises:
            UsageError: It does not.
        """
        for name in ("cpu_fraction", "memory_fraction"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise UsageError(f"{name}: {value!r} is not above 0 and at most 1")
        for name in ("cores", "memory_bytes"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"{name}: {value!r} is not above 0")
        for one, other in (("cpu_fraction", "cores"), ("memory_fraction", "memory_bytes")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise UsageError(f"give {one} or {other}, not both")
        if all(value is None for value in asdict(self).values()):
            raise UsageError("say what to use: cpu_fraction, cores, memory_fraction or memory_bytes")

    def to_json(self) -> dict[str, Json]:
        """Return what was asked for."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def limit_of(spec: Mapping[str, Any], resource: str) -> float | None:
    """Return the limit that a pod with *spec* has as a whole; None if one of its containers has none.

    Source: the kubelet's ``ResourceConfigForPod``: a pod's cgroup is limited only if all containers are.
    """
    limits = [(each.get("resources") or {}).get("limits") or {} for each in spec["containers"]]
    if any(resource not in each for each in limits):
        return None
    return sum(amount(each[resource]) for each in limits)


def stress(api: Api, target: Target, share: Share, *, table: str, max_duration_s: float) -> Stress:
    """Return the order for one pod.

    Raises:
        NoTargets: A share of a limit is wanted and there is none.
    """
    spec = _spec(api, target)
    cores, size = share.cores or 0.0, float(share.memory_bytes or 0)
    if share.cpu_fraction is not None:
        cores = share.cpu_fraction * _limit(target, spec, "cpu", instead="cores")
    if share.memory_fraction is not None:
        size = share.memory_fraction * _limit(target, spec, "memory", instead="memory_bytes")
    return Stress(
        table=table,
        lease_s=settings_of.current().lease_s,
        max_duration_s=max_duration_s,
        cores=cores,
        memory_bytes=int(size),
    )


def fill(
    api: Api, target: Target, volume: str, used_fraction: float, *, table: str, max_duration_s: float
) -> Fill:
    """Return the order for one pod.

    Raises:
        NoTargets: It has no such volume.
        Unsupported: The volume is a folder on the node's disk.
    """
    spec = _spec(api, target)
    found = next((each for each in spec.get("volumes") or () if each["name"] == volume), None)
    if found is None:
        there = ", ".join(each["name"] for each in spec.get("volumes") or ()) or "none"
        raise NoTargets(
            f"{target.pod.full_name} has no volume {volume}; it has {there}; nothing was injected"
        )
    if why := not_its_own(found):
        raise Unsupported(
            f"unsupported: volume {volume} of {target.pod.full_name} {why}; nothing was injected"
        )
    return Fill(
        table=table,
        lease_s=settings_of.current().lease_s,
        max_duration_s=max_duration_s,
        path=VOLUME,
        used_fraction=used_fraction,
    )


def not_its_own(volume: Mapping[str, Any]) -> str | None:
    """Return why *volume* has no file system of its own; None if it has, as far as one can read."""
    if "persistentVolumeClaim" in volume or "ephemeral" in volume or "csi" in volume:
        return None
    if "emptyDir" in volume:
        if (volume["emptyDir"] or {}).get("medium") == "Memory":
            return None
        return (
            "is a folder on the node's disk, which every pod there shares (medium: Memory or a claim is not)"
        )
    return "is neither an emptyDir nor a claim"


def _limit(target: Target, spec: Mapping[str, Any], resource: str, *, instead: str) -> float:
    found = limit_of(spec, resource)
    if found is None:
        raise NoTargets(
            f"{target.pod.full_name} has a container without a {resource} limit, so the pod has none; "
            f"give {instead} instead; nothing was injected"
        )
    return found


def _spec(api: Api, target: Target) -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"/api/v1/namespaces/{target.pod.namespace}/pods/{target.pod.name}")[
        "spec"
    ]
    return found
