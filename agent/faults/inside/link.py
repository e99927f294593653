"""A link in front of a dependency, inside the pods that call it: a proxy there, which fails as it is told.

The link is one injection, which is in as long as it is needed and holds nothing; each fault on it is one
more, ordered over the streams that hold the link.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import structlog

from agent import settings as settings_of
from agent.clients import kubernetes
from agent.clients.kubernetes import KubernetesError
from agent.faults.inside import lifelines
from agent.faults.inside import streams as pod_streams
from agent.faults.inside.clocks import Clock
from agent.faults.inside.far import Far
from agent.faults.inside.follow import Near
from agent.faults.inside.injectors import Kit
from agent.faults.inside.placing import Inside, put_inside
from agent.injector import orders
from agent.injector.orders import Lead
from agent.model import Call, Fact, NoEvidence, UsageError
from agent.safety.door import heal_others, inject
from agent.safety.targets import Choice

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from agent.clients.kubernetes import Api
    from agent.faults.cluster.pod_choice import Target
    from agent.model import Json

log = structlog.get_logger()

LOOK_EVERY_S = 2.0
"""So often it is looked whether pods have come that are not led."""
LEADS = "pod_links.lead"
DEFAULTS: dict[str, dict[str, Json]] = {
    "delay": {"direction": "downstream"},
    "refuse": {"connections": "reset"},
}
"""What the faults of :mod:`agent.faults.links` ask for where nothing else is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Whose calls are led, and to whom, as the arguments of a fault say it."""

    near: Near
    far: Far

    @classmethod
    def parse(cls, pods: str, towards: str) -> Self:
        """Read ``NAMESPACE/SELECTOR`` and ``PEER:PORT``.

        Raises:
            UsageError: One of them is something else.
        """
        namespace, slash, selector = pods.partition("/")
        if not (slash and namespace.strip() and selector.strip()):
            raise UsageError(f"pods: write NAMESPACE/SELECTOR, such as shop/app=checkout, not {pods!r}")
        peer, _, port = towards.rpartition(":")
        if not peer or not port.isdigit() or not 0 < int(port) < 65536:
            raise UsageError(
                f"towards: write service/NAME:PORT (or pods/SELECTOR:PORT, host/NAME:PORT, ADDRESS:PORT), "
                f"not {towards!r}"
            )
        near = Near(
            namespace=namespace.strip(),
            selector=selector.strip(),
            choice=Choice(fraction=1.0),  # one left out would be seen as a service that bypasses the link
            allow_bare=True,
        )
        far = Far(peers=(peer.strip("[]"),), port=int(port), protocol="tcp", direction="egress")
        return cls(near=near, far=far)


@dataclass(slots=True, kw_only=True)
class PodLink:
    """The link called *name* while it is in: what came over it, and its faults.

    It tells what :class:`~agent.proxy.client.ProxyClient` does.  Moments are of this process's monotonic
    clock, and ``peer`` is the pod.
    """

    name: str
    table: str
    place: dict[str, Json]
    near: Near
    pods: dict[str, str]
    injection: str
    _clocks: dict[str, Clock] = field(default_factory=dict)
    _since: dict[str, int] = field(default_factory=dict)
    _came: list[dict[str, Any]] = field(default_factory=list)
    _open: list[dict[str, Any]] = field(default_factory=list)
    _seq: int = 0
    _looked_at: float = 0.0

    @property
    def namespace(self) -> str:
        """Where the pods are."""
        return self.near.namespace

    @property
    def api(self) -> str:
        """Where it is, for a person."""
        return f"the pods {', '.join(f'{self.namespace}/{pod}' for pod in self.pods)}"

    # what is seen

    def links(self) -> list[dict[str, Any]]:
        """Return this one link."""
        return [{"name": self.name}]

    def last_seq(self) -> int:
        """Return the number of the last request that came before now."""
        self._pull()
        return self._seq

    def open_requests(self, link: str) -> list[dict[str, Any]]:  # noqa: ARG002  # there is one
        """Return the requests without an answer; :meth:`arrivals` then tells the others of that moment."""
        self._pull()
        return self._open

    def arrivals(self, since: int, limit: int) -> list[dict[str, Any]]:
        """Return up to *limit* requests after *since*, oldest first."""
        self._came = [each for each in self._came if each["seq"] > since]
        return self._came[:limit]

    def _pull(self) -> None:
        """Ask each pod until it has told everything.

        Raises:
            KubernetesError: One does not answer, or is gone.
            NoEvidence: One has come that is not led.
        """
        if time.monotonic() - self._looked_at > LOOK_EVERY_S:
            self._look_around()
        self._open = []
        for pod in self.pods:
            while (said := self._told_by(pod))["more"]:
                pass
            clock = self._clocks[pod]
            self._open += [self._ours(pod, clock, each) for each in said["open"]]

    def _told_by(self, pod: str) -> Mapping[str, Any]:
        answer = lifelines.ask(self.table, orders.arrivals(self._since.get(pod, 0)), pod=pod)
        clock = self._clocks.setdefault(pod, Clock())
        clock.learn(answer.exchange)
        self._since[pod] = answer.says["seq"]
        for each in answer.says["requests"]:
            self._seq += 1
            self._came.append(self._ours(pod, clock, each) | {"seq": self._seq})
        return answer.says

    def _ours(self, pod: str, clock: Clock, entry: Mapping[str, Any]) -> dict[str, Any]:
        at = clock.ours(float(entry["monotonic_at"]))
        port = str(entry["peer"]).rpartition(":")[2]
        wall = time.time() - time.monotonic()
        return {**entry, "link": self.name, "peer": f"{pod}:{port}", "monotonic_at": at, "at": at + wall}

    def clock(self) -> dict[str, Json]:
        """Return how wrong a moment can be that was told by a pod, and by which."""
        pods: dict[str, Json] = {pod: round(clock.worst_s, 6) for pod, clock in self._clocks.items()}
        worst = max((clock.worst_s for clock in self._clocks.values()), default=0.0)
        return {"uncertainty_s": round(worst, 6), "pods": pods}

    def _look_around(self) -> None:
        """See to it that all pods that match are led.

        Raises:
            NoEvidence: One came meanwhile: its calls go past the link.
        """
        self._looked_at = time.monotonic()
        try:
            with kubernetes.connect(self.place) as api:
                found = self.near.find(api).targets.values()
        except KubernetesError as error:  # whether one came is asked again soon
            log.info("pods_not_looked_at", why=str(error))
            return
        came = sorted(each.pod.name for each in found if self.pods.get(each.pod.name) != each.pod.uid)
        if came:
            raise NoEvidence(
                f"{', '.join(came)} came after the link was made, and calls from there go past it: this "
                "ends here; do not let it scale or roll out meanwhile"
            )

    # what is broken

    def put(self, fault: str, *, link: str, max_duration_s: float, **fields: Json) -> None:  # noqa: ARG002  # there is one
        """Put *fault* (a kind of toxic, such as ``delay``) on the link in every pod.

        Raises:
            NoEvidence: A pod has come meanwhile, whose calls would meet no fault.  Nothing was injected.
            DidNotLand: It is not on everywhere; it was taken off again.
            Refused: The run may break nothing any more.  Nothing was injected.

        Undo:
            Takes it off; from another process, takes the whole link out.

        Dead man:
            That of the link: the stream, its lease in the pod, and that of the kernel's rules.
        """
        self._look_around()
        toxic, lost = uuid.uuid4().hex, fields.pop("lost", False)
        asked: dict[str, Json] = {**DEFAULTS.get(fault, {}), **fields, **({"held": "lost"} if lost else {})}
        raw = {"kind": fault, **asked, "max_duration_s": max_duration_s}
        held: dict[str, Json] = {"table": self.table, "toxic": toxic}
        held |= {"place": self.place, "namespace": self.namespace, "pods": dict(self.pods)}
        lease_s = settings_of.current().lease_s
        inject(
            fault=f"pod_links.{fault}",
            victims=[f"{self.namespace}/{pod}" for pod in self.pods],
            population=len(self.pods),
            apply=lambda: _put(self.table, toxic, raw),
            undo=Call(func=f"{__name__}:remove", arguments={**held, "needs_traffic": fault != "refuse"}),
            landed_check=Call(func=f"{__name__}:is_in", arguments={"table": self.table, "toxic": toxic}),
            gone_check=Call(func=f"{__name__}:is_out", arguments={**held, "lease_s": lease_s}),
            lease_s=lease_s,
            max_duration_s=max_duration_s,
            asked=asked,
            alone=True,
        )

    def heal(self, but: Collection[str] = ()) -> None:
        """Take out everything of this run but the link itself, and the injections that *but* names.

        Raises:
            NotRecovered: Something may still be broken.
        """
        heal_others((self.injection, *but))


def lead(ends: Ends, *, name: str, max_duration_s: float) -> PodLink | dict[str, Json]:
    """Lead what the pods call through a proxy in each of them; on the leash return what would be hit.

    Args:
        ends: Whose calls, and to whom.
        name: What the link is called.
        max_duration_s: It ends after this, whatever happens.

    Raises:
        UsageError: An argument makes no sense.  Nothing was injected.
        NoTargets: There is no such pod, or the far end has no address.  Nothing was injected.
        Refused: A namespace, a right or the radius says no.  Nothing was injected.
        Unsupported: The namespace admits no NET_ADMIN.  Nothing was injected.
        NoInjector: The container did not come up or refused; what was in was taken out again.

    Undo:
        As for :func:`agent.faults.pod_networks.delay`: connections that are led end, and come again directly.

    Dead man:
        As for :func:`agent.faults.pod_networks.delay`.
    """
    lease_s = settings_of.current().lease_s
    tables: list[str] = []
    pods: dict[str, str] = {}
    with kubernetes.connect() as api:
        scope = ends.far.scope(api, ends.near.namespace)

        def order(_: Api, target: Target, table: str) -> Lead:
            tables.append(table)
            pods[target.pod.name] = target.pod.uid
            return Lead(
                table=table,
                scope=scope,
                hosts=ends.far.hosts,
                lease_s=lease_s,
                max_duration_s=max_duration_s,
            )

        inside = Inside(
            fault=LEADS,
            near=ends.near,
            kit=Kit(image=settings_of.current().image, capabilities=("NET_ADMIN",)),
            asked={"towards": list(ends.far.victims(scope))},
            max_duration_s=max_duration_s,
            order_of=order,
        )
        told = put_inside(api, inside)
        if told.get("leashed"):
            return told
        return PodLink(
            name=name,
            table=tables[0],
            place=api.place.to_json(),
            near=ends.near,
            pods=pods,
            injection=str(told["injection"]),
        )


def _put(table: str, toxic: str, raw: Mapping[str, Json]) -> None:
    for pod, answer in lifelines.ask_all(table, orders.put_toxic(toxic, raw)).items():
        if not answer.says.get("holds"):
            raise UsageError(f"{pod}: {answer.says.get('says')}")


# undo and checks: what the ledger names


def remove(
    *,
    table: str,
    toxic: str,
    place: dict[str, Any],
    namespace: str,
    pods: dict[str, str],
    needs_traffic: bool,
) -> Fact | None:
    """Take the toxic off and return its dose; who does not hold the streams takes the whole link out."""
    try:
        answers = lifelines.ask_all(table, orders.take_toxic(toxic))
    except KubernetesError:
        pod_streams.remove(table=table, place=place, namespace=namespace, pods=pods)
        return None
    doses = [dose for answer in answers.values() if (dose := answer.says["dose"]) is not None]
    if not doses:
        return None
    measured: dict[str, Json] = {"lasted_s": max(each["lasted_s"] for each in doses)}
    measured |= {each: sum(dose[each] for dose in doses) for each in ("n", "bytes")}
    for each in ("held_p50_ms", "held_p99_ms"):
        if held := [dose[each] for dose in doses if each in dose]:
            measured[each] = min(held)  # of several pods, the one that was held least
    missed = needs_traffic and not measured["n"]
    return Fact(holds=not missed, says="it met no traffic" if missed else "", measured=measured)


def is_in(*, table: str, toxic: str) -> Fact:
    """Tell whether every pod has the toxic."""
    answers = lifelines.ask_all(table, orders.TOXICS)
    missing = [pod for pod, answer in answers.items() if toxic not in answer.says["names"]]
    says = f"no toxic in {', '.join(missing)}" if missing else "" if answers else "no pod was asked"
    return Fact(holds=not says, says=says)


def is_out(
    *,
    table: str,
    toxic: str,
    place: dict[str, Any],
    namespace: str,
    pods: dict[str, str],
    lease_s: float,
) -> Fact:
    """Tell whether no pod has the toxic, or the link itself is gone."""
    try:
        answers = lifelines.ask_all(table, orders.TOXICS)
    except KubernetesError:
        return pod_streams.gone(table=table, place=place, namespace=namespace, pods=pods, lease_s=lease_s)
    still = [pod for pod, answer in answers.items() if toxic in answer.says["names"]]
    return Fact(holds=not still, says=f"the toxic is still in {', '.join(still)}" if still else "")
