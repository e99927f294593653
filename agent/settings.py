"""The environment, read once, as one frozen value; nothing else reads ``GAMEDAY_`` variables."""

from __future__ import annotations

import difflib
import os
from pathlib import Path  # noqa: TC003  # pydantic reads the annotation when it builds the class
from typing import TYPE_CHECKING, Annotated, Literal

from platformdirs import user_state_path
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from agent.model import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "GAMEDAY_"


class SettingsError(UsageError):
    """A ``GAMEDAY_`` variable is unknown or malformed; nothing was started."""


def _listed(text: str | tuple[str, ...]) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, text.split(",")))) if isinstance(text, str) else text


class Settings(BaseModel):
    """Every setting; the variable is ``GAMEDAY_`` and the field's name in capitals."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Field(default_factory=lambda: user_state_path("gameday"))
    """Where the ledger, run folders and reports live."""
    store: str | None = Field(default=None, repr=False)
    """What several agents share: ``postgresql+psycopg://user@host/database``; unset: nothing."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe log line that is written."""
    log_format: Literal["auto", "json", "text"] = "auto"
    """``auto`` is text on a terminal and JSON elsewhere."""
    proxy: str | None = None
    """The fault proxy's API: ``http://host:port`` or ``unix:/path``; default: the running sandbox's."""
    proxy_token: str | None = Field(default=None, repr=False)
    """The token for a proxy API on loopback."""
    sandbox_url: str | None = None
    """The sandbox's gateway; experiments under ``experiments/sandbox`` read it."""
    radius_count: int = Field(default=1, ge=0)
    """The most victims of a run whose experiment names no blast radius, or that the engine runs alone."""
    namespaces: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    """Kubernetes namespaces that faults may touch: names or patterns with commas between; unset: none."""
    nodes: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    """Kubernetes nodes that faults may touch: names or patterns with commas between; unset: none."""
    restorer_namespace: str | None = None
    """Where the Jobs that put values back run; default: the agent's own namespace, else ``gameday``."""
    opt_in: bool = False
    """Kubernetes faults hit only what is labelled ``gameday/enabled: "true"``, itself, owner or namespace."""
    image: str = "gameday-agent"
    """The agent's own image as the cluster at hand calls it; faults inside pods run it there."""
    kubecontext: str | None = None
    """The context of the kubeconfig; default: its current one."""
    listen: str | None = None
    """``host:port`` where ``gameday serve`` answers /livez, /readyz and /metrics; unset: nowhere."""
    lease_s: float = Field(default=3.0, gt=0, le=60)
    """How long a fault survives on its platform without being renewed."""
    executor: Literal["process", "kubernetes-job"] = "process"
    """Where a run is played: in a process of this agent, or in a Kubernetes Job of its own."""
    job_namespace: str | None = None
    """Where those Jobs are made; default: the namespace that the agent itself runs in."""
    job_service_account: str | None = None
    """Whose rights their runs have; default: the namespace's default service account."""
    job_cpu: str = "100m"
    """The processor share that a Job asks for, as a quantity of Kubernetes."""
    job_memory: str = "384Mi"
    """The memory that a Job asks for and may not exceed, as a quantity of Kubernetes."""
    job_keep_s: float = Field(default=86400.0, ge=60)
    """So long after its end a Job is kept, and its logs with it."""
    job: str | None = None
    """Set by the agent in the pod of a Job: which one, as namespace/name/uid."""
    run: str | None = None
    """Set by the agent for the processes of a run: its id."""
    leash: bool = False
    """Set by the agent for the processes of a leashed run: name victims, touch nothing."""
    lifeline_fd: int | None = None
    """Set by the agent for a run's child: the pipe whose end means that the parent is gone."""


def parse(environ: Mapping[str, str]) -> Settings:
    """Return the settings in *environ*.

    Raises:
        SettingsError: A ``GAMEDAY_`` variable is unknown (the nearest known one is named) or does
            not parse.
    """
    given = {k: v for k, v in environ.items() if k.startswith(PREFIX)}
    known = {PREFIX + name.upper(): name for name in Settings.model_fields}
    for variable in given:
        if variable not in known:
            near = difflib.get_close_matches(variable, known, n=1, cutoff=0.0)[0]
            raise SettingsError(f"{variable} is not a setting; did you mean {near}?")
    try:
        return Settings.model_validate({known[k]: v for k, v in given.items() if v != ""})
    except ValidationError as error:
        first = error.errors()[0]
        variable = PREFIX + str(first["loc"][0]).upper()
        raise SettingsError(f"{variable}={given.get(variable)!r}: {first['msg']}") from None


def current() -> Settings:
    """Return the settings of this process's environment, as it stands now.

    Parsed at each call, because actions and probes run inside an engine whose environment a control
    or the parent may have completed after import.
    """
    return parse(os.environ)
