"""The activities of an experiment file and the controls around them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from agent.catalog.fields import Module, Part, Pause, Text
from agent.catalog.providers import Provider  # noqa: TC001 - pydantic reads it at run time
from agent.catalog.tolerances import Tolerance  # noqa: TC001 - pydantic reads it at run time


class ControlProvider(Part):
    """A module whose functions are called before and after things happen."""

    type: Literal["python"]
    """python."""
    module: Module
    """The module's dotted name."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of every control function; ${name} is replaced, but not in configure_control."""


class Control(Part):
    """Something to do before and after a part of the experiment."""

    name: Text
    """Unique among the controls."""
    provider: ControlProvider
    """What is called."""
    scope: Literal["before", "after"] | None = None
    """Only before, or only after; default: both."""
    automatic: bool = True
    """Whether a control of the whole experiment applies to every part of it too."""


class Pauses(Part):
    """Seconds to wait around an activity."""

    before: Pause = 0
    """Seconds before it; one ${name} is replaced."""
    after: Pause = 0
    """Seconds after it; one ${name} is replaced."""


class Step(Part):
    """An action or a probe of the method or the rollbacks."""

    type: Literal["action", "probe"]
    """An action changes something, a probe looks."""
    name: Text
    """Unique; what reports call it."""
    provider: Provider
    """What is called."""
    background: bool = False
    """Whether the next activity starts without waiting for this one."""
    pauses: Pauses = Field(default_factory=Pauses)
    """Waits around it."""
    controls: list[Control] = Field(default_factory=list)
    """Controls of this activity alone."""


class StepReference(Part):
    """An activity of the method or the hypothesis, played again."""

    ref: Text
    """Its name."""


class Probe(Part):
    """A probe of the steady-state hypothesis."""

    type: Literal["probe"]
    """probe: an action is no look."""
    name: Text
    """Unique; what reports call it."""
    tolerance: Tolerance
    """What its value has to be."""
    provider: Provider
    """What is called."""
    controls: list[Control] = Field(default_factory=list)
    """Controls of this probe alone."""


class ProbeReference(Part):
    """A probe of the method, looked at as part of the hypothesis."""

    ref: Text
    """Its name."""
    tolerance: Tolerance
    """What its value has to be."""


def _step(value: Any) -> str:
    return "<StepReference>" if isinstance(value, dict) and "ref" in value else "<Step>"


def _probe(value: Any) -> str:
    return "<ProbeReference>" if isinstance(value, dict) and "ref" in value else "<Probe>"


AnyStep = Annotated[
    Annotated[Step, Tag("<Step>")] | Annotated[StepReference, Tag("<StepReference>")], Discriminator(_step)
]
AnyProbe = Annotated[
    Annotated[Probe, Tag("<Probe>")] | Annotated[ProbeReference, Tag("<ProbeReference>")],
    Discriminator(_probe),
]
