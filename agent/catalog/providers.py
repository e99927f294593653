"""What an activity calls: a function, a program, or an address."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from agent.catalog.fields import HttpTimeout, Module, Name, Part, Seconds, Text


def _by_type(kinds: dict[str, str]) -> Discriminator:
    """Choose a part by its key ``type``; tags are in angle brackets so that no key looks like one."""

    def tag(value: Any) -> str | None:
        kind = value.get("type") if isinstance(value, dict) else None
        return kinds.get(kind) if isinstance(kind, str) else None

    return Discriminator(tag)


class PythonProvider(Part):
    """A function of an importable module."""

    type: Literal["python"]
    """python."""
    module: Module
    """The module's dotted name."""
    func: Name
    """The function's name."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Its keyword arguments; ${name} is replaced."""
    secrets: list[Text] = Field(default_factory=list)
    """Groups of secrets that the function gets as its argument secrets."""


class ProcessProvider(Part):
    """A program, run without a shell."""

    type: Literal["process"]
    """process."""
    path: Text
    """The program; ${name} is not replaced here."""
    arguments: list[str | int | float] = Field(default_factory=list)
    """Its arguments, one text or number each; ${name} is replaced."""
    timeout: Seconds
    """Seconds after which it is killed.  Required: Chaos Toolkit would wait for ever."""


class HttpProvider(Part):
    """An HTTP request."""

    type: Literal["http"]
    """http."""
    url: Text
    """The address; ${name} is replaced."""
    method: Annotated[str, Field(pattern="^(?i:GET|HEAD|OPTIONS|POST|PUT|PATCH|DELETE)$")] = "GET"
    """The verb."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Headers; ${name} is replaced in their values."""
    arguments: Any = None
    """Query of a GET, body of anything else; ${name} is replaced."""
    timeout: HttpTimeout
    """Seconds, or [connect, read].  Required: Chaos Toolkit would wait for ever."""
    verify_tls: bool = True
    """Whether the server's certificate is checked."""
    max_retries: Annotated[int, Field(ge=0, le=10)] = 0
    """How often a failed connection is tried again."""


Provider = Annotated[
    Annotated[PythonProvider, Tag("<PythonProvider>")]
    | Annotated[ProcessProvider, Tag("<ProcessProvider>")]
    | Annotated[HttpProvider, Tag("<HttpProvider>")],
    _by_type({"python": "<PythonProvider>", "process": "<ProcessProvider>", "http": "<HttpProvider>"}),
]
