"""The file format from the top: every key and its type, Chaos Toolkit's and ours."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from agent.catalog.extension import GamedayKeys
from agent.catalog.fields import Part, Text
from agent.catalog.parts import AnyProbe, AnyStep, Control  # noqa: TC001 - pydantic reads it at run time

VARIABLE_TYPES = ("str", "string", "int", "integer", "float", "number", "bool", "json")
"""What Chaos Toolkit converts a variable to, without ``bytes``, which no journal can hold."""


class EnvironmentValue(Part):
    """A value taken from the environment when the run starts."""

    type: Literal["env"]
    """env."""
    key: Text
    """The variable's name."""
    default: Any = None
    """The value if the variable is not set; without it the run is refused."""
    env_var_type: Literal["str", "string", "int", "integer", "float", "number", "bool", "json"] = "str"
    """What the text is converted to."""


class EnvironmentSecret(Part):
    """A secret taken from the environment when the run starts."""

    type: Literal["env"]
    """env."""
    key: Text
    """The variable's name."""


class VaultSecret(Part):
    """A secret taken from Vault when the run starts; needs ``chaostoolkit-lib[vault]``."""

    type: Literal["vault"]
    """vault."""
    path: Text
    """Where it is."""
    key: Text | None = None
    """Which of the keys there; default: all of them."""


class OtherExtension(BaseModel):
    """An extension of another tool; left as it is."""

    model_config = ConfigDict(extra="allow", strict=True, use_attribute_docstrings=True)

    name: Text
    """The tool's name."""


class HypothesisRuntime(Part):
    """When Chaos Toolkit looks at the steady state."""

    strategy: Literal["default"] = "default"
    """default: before and after the method.  gameday looks all the time by itself."""


class RollbacksRuntime(Part):
    """When rollbacks are played."""

    strategy: Literal["always"]
    """always: whatever happened."""


class Runtime(Part):
    """How Chaos Toolkit plays the experiment; gameday plays it the same way."""

    hypothesis: HypothesisRuntime = Field(default_factory=HypothesisRuntime)
    """When the hypothesis is looked at."""
    rollbacks: RollbacksRuntime | None = None
    """When rollbacks are played; required where there are any."""


class Hypothesis(Part):
    """What is true as long as all is well."""

    title: Text
    """The claim, as a sentence."""
    probes: Annotated[list[AnyProbe], Field(min_length=1)]
    """How to tell; the first that is not met ends a look of Chaos Toolkit."""
    controls: list[Control] = Field(default_factory=list)
    """Controls of the hypothesis alone."""


def _kind(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind is None:
        return "<literal>"
    return f"<{kind}>" if kind in ("env", "vault") else None


def _extension(value: Any) -> str:
    ours = isinstance(value, dict) and value.get("name") == "gameday"
    return "<GamedayKeys>" if ours else "<OtherExtension>"


Configured = Annotated[
    Annotated[EnvironmentValue, Tag("<env>")] | Annotated[Any, Tag("<literal>")], Discriminator(_kind)
]
Secret = Annotated[
    Annotated[EnvironmentSecret, Tag("<env>")]
    | Annotated[VaultSecret, Tag("<vault>")]
    | Annotated[str | int | float, Tag("<literal>")],
    Discriminator(_kind),
]
SecretGroup = Annotated[
    Annotated[dict[str, Secret], Tag("<literal>")] | Annotated[VaultSecret, Tag("<vault>")],
    Discriminator(_kind),
]
Extension = Annotated[
    Annotated[GamedayKeys, Tag("<GamedayKeys>")] | Annotated[OtherExtension, Tag("<OtherExtension>")],
    Discriminator(_extension),
]


class ExperimentFile(Part):
    """One experiment: a claim, how to break what might belie it, and how to mend it again."""

    model_config = ConfigDict(title="A gameday experiment")

    version: Text | None = None
    """The experiment's version; nobody reads it."""
    title: Text
    """The claim as a sentence; ${name} is replaced."""
    description: Text
    """What happens and why it should not matter."""
    tags: list[Text] = Field(default_factory=list)
    """Words to select experiments by."""
    contributions: dict[str, str] = Field(default_factory=dict)
    """What the experiment adds to: {reliability: high}; nobody reads it."""
    configuration: dict[str, Configured] = Field(default_factory=dict)
    """Values that ${name} stands for."""
    secrets: dict[str, SecretGroup] = Field(default_factory=dict)
    """Groups of values that ${name} stands for, and that no report shows."""
    extensions: list[Extension] = Field(default_factory=list)
    """One of them is gameday's."""
    runtime: Runtime = Field(default_factory=Runtime)
    """How Chaos Toolkit plays the experiment."""
    controls: list[Control] = Field(default_factory=list)
    """Controls of the whole experiment."""
    hypothesis: Annotated[Hypothesis, Field(alias="steady-state-hypothesis")]
    """The claim, and how to tell whether it is true."""
    method: list[AnyStep]
    """What is done; may be empty."""
    rollbacks: list[AnyStep] = Field(default_factory=list)
    """What is done at the end, whatever happened."""


def schema() -> dict[str, Any]:
    """Return the JSON Schema of an experiment file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **ExperimentFile.model_json_schema(by_alias=True),
    }
