"""The ephemeral containers of injectors: put into pods that may go, change or be written to meanwhile."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.clients.kubernetes import Changed, Forbidden, KubernetesError, NotThere
from agent.model import Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.clients.kubernetes import Api

ADD_PAUSES_S = (0.2, 0.5, 1.0)
RACES_MAX = 20
"""So often a container is added anew because the pod was written between the look and the order."""
HOPELESS = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"})


class NoInjector(KubernetesError):
    """The injector did not come up in a pod, or did not do what it was told to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """What the ephemeral container of an injector needs beside the image."""

    image: str
    capabilities: tuple[str, ...]
    mounts: tuple[tuple[str, str], ...] = ()
    """Volumes of the pod by name, and where the injector sees each."""
    target: str | None = None
    """The container whose processes the injector sees."""


def container_of(table: str) -> str:
    """Return the name of the ephemeral container that holds nftables table *table*."""
    return table.replace("_", "-")[:40]


def add(api: Api, namespace: str, pod: str, uid: str, *, name: str, kit: Kit) -> None:
    """Add a container called *name* to the very pod; others may be adding theirs, an answer may be lost.

    Raises:
        NoInjector: The pod is gone.
        Unsupported: Somebody forbids such a container.
        KubernetesError: The API server does not do it.
    """
    container, pauses = _container(name, kit), iter(ADD_PAUSES_S)
    for _ in range(RACES_MAX):
        found = _pod(api, namespace, pod, uid)
        others = found["spec"].get("ephemeralContainers") or []
        if any(each["name"] == name for each in others):
            return  # it was taken in, and the answer was lost
        version = found["metadata"]["resourceVersion"]
        body = {"metadata": {"uid": uid, "resourceVersion": version}}
        body |= {"spec": {"ephemeralContainers": [*others, container]}}
        try:
            api.patch(f"/api/v1/namespaces/{namespace}/pods/{pod}/ephemeralcontainers", body)
        except Forbidden as error:
            wanted = ", ".join(kit.capabilities) or "no capability"
            says = f"unsupported: no container with {wanted} may be put there: {error}"
            raise Unsupported(says) from error
        except (Changed, NotThere):
            continue  # the next look tells whether the pod was only written to
        except KubernetesError as error:
            if not error.passing or (pause := next(pauses, None)) is None:
                raise
            time.sleep(pause)
        else:
            return
    raise NoInjector(f"{namespace}/{pod} is written to all the time; no injector could be put into it")


def _pod(api: Api, namespace: str, pod: str, uid: str) -> dict[str, Any]:
    """Return the very pod.

    Raises:
        NoInjector: It is gone, or ending.
    """
    try:
        found = api.get(f"/api/v1/namespaces/{namespace}/pods/{pod}")
    except NotThere:
        found = {"metadata": {"uid": None}}
    if found["metadata"]["uid"] != uid:
        raise NoInjector(f"{namespace}/{pod} was deleted while an injector was being put into it")
    if "deletionTimestamp" in found["metadata"]:
        raise NoInjector(f"{namespace}/{pod} is being deleted; no injector can start in it any more")
    return found


def delayed_by(api: Api, namespace: str, pod: str, uid: str, container: str) -> str:
    """Return what *container* in the very pod waits for, as far as its kubelet has told by now.

    Raises:
        NoInjector: It will not run, or has ended already, or the pod is gone.
        KubernetesError: The API server does not tell.
    """
    state = _state_in(_pod(api, namespace, pod, uid), container) or {}
    if "terminated" in state:
        raise NoInjector(f"the injector in {namespace}/{pod} ended at once: {state['terminated']}")
    waiting = state.get("waiting") or {}
    why = f"{waiting.get('reason', 'no word from the kubelet')} {waiting.get('message', '')}".strip()
    if waiting.get("reason") in HOPELESS:
        raise NoInjector(f"the injector in {namespace}/{pod} does not run: {why}")
    return why


def state_of(api: Api, namespace: str, pod: str, uid: str, container: str) -> dict[str, Any] | None:
    """Return the state of *container*, empty before its first one; None if it or its pod is not there."""
    try:
        found = api.get(f"/api/v1/namespaces/{namespace}/pods/{pod}")
    except NotThere:
        return None
    return None if found["metadata"]["uid"] != uid else _state_in(found, container)


def _state_in(found: Mapping[str, Any], container: str) -> dict[str, Any] | None:
    wanted = [each["name"] for each in found["spec"].get("ephemeralContainers") or ()]
    for each in found["status"].get("ephemeralContainerStatuses") or ():
        if each["name"] == container:
            return dict(each["state"])
    return {} if container in wanted else None


def _container(name: str, kit: Kit) -> dict[str, Any]:
    return {
        **({"targetContainerName": kit.target} if kit.target else {}),
        "name": name,
        "image": kit.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-m", "agent.injector"],
        "stdin": True,
        "stdinOnce": True,
        "volumeMounts": [{"name": volume, "mountPath": path} for volume, path in kit.mounts],
        "securityContext": {
            "runAsUser": 0,
            "runAsNonRoot": False,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"], "add": list(kit.capabilities)},
        },
    }
