"""Which cluster is meant, and how it is reached: from a kubeconfig, or from inside."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent import settings as settings_of
from agent.model import Unsupported

if TYPE_CHECKING:
    from kubernetes.client import Configuration

    from agent.model import Json

KUBECONFIG = Path("~/.kube/config")
OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which cluster, as data for the ledger; holds no secret.

    ``kubeconfig`` is None inside a cluster.  ``server`` is compared when the place is opened again, so
    that a fault is never taken for healed because somebody looked at another cluster.
    """

    kubeconfig: str | None
    context: str | None
    server: str

    def to_json(self) -> dict[str, Json]:
        """Return this place as arguments of a ``Call``, the current context by its name.

        Healing happens later, and somebody may have made another context the current one by then.
        """
        from kubernetes import config  # noqa: PLC0415

        if self.kubeconfig is None or self.context is not None:
            return asdict(self)
        current = config.list_kube_config_contexts(config_file=self.kubeconfig)[1]  # type: ignore[no-untyped-call]
        return {**asdict(self), "context": current["name"]}


def own_namespace() -> str | None:
    """Return the namespace that this process runs in, None outside a cluster."""
    try:
        return OWN_NAMESPACE.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def configured(wanted: Place | None) -> tuple[Configuration, Place]:
    """Return a fresh configuration and the place that it is of."""
    import urllib3  # noqa: PLC0415
    from kubernetes import config  # noqa: PLC0415
    from kubernetes.client import Configuration  # noqa: PLC0415

    configuration = Configuration()
    configuration.retries = urllib3.Retry(0, raise_on_redirect=False, respect_retry_after_header=False)
    path = wanted.kubeconfig if wanted else _kubeconfig()
    context = wanted.context if wanted else settings_of.current().kubecontext
    try:
        if path is None:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=path,
                context=context,
                client_configuration=configuration,
                persist_config=False,
            )
    except (config.ConfigException, OSError, ValueError) as error:
        where = f"{path} (context {context or 'current'})" if path else "no kubeconfig, and not in a cluster"
        raise Unsupported(
            f"no Kubernetes: {where}: {error}; set KUBECONFIG and GAMEDAY_KUBECONTEXT"
        ) from error
    return configuration, Place(kubeconfig=path, context=context, server=str(configuration.host))


def _kubeconfig() -> str | None:
    """Return the kubeconfig of this environment, absolute, since healing happens in other folders."""
    if named := os.environ.get("KUBECONFIG"):
        return os.pathsep.join(
            str(Path(each).expanduser().absolute()) for each in named.split(os.pathsep) if each
        )
    path = KUBECONFIG.expanduser()
    return str(path) if path.is_file() else None
