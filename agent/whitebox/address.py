"""``KIND:URL#options``: where the words of a breaker are read, and how."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from agent.breakers.courses.states import State
from agent.model import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

EVERY_S, EVERY_LEAST_S, EVERY_MOST_S = 0.2, 0.02, 60.0
"""Five looks a second: a state of half a second is seen, and no source minds."""
TIMEOUT_S, TIMEOUT_MOST_S = 2.0, 30.0
WORDS = {
    "closed": State.CLOSED,
    "open": State.OPEN,
    "opened": State.OPEN,
    "half_open": State.HALF_OPEN,
    "half_opened": State.HALF_OPEN,
    "halfopen": State.HALF_OPEN,
    "forced_open": State.OPEN,
    "isolated": State.OPEN,
    "disabled": State.CLOSED,
    "metrics_only": State.CLOSED,
}
"""What sources call it; a breaker that is disabled lets everybody through."""


@dataclass(slots=True)
class Address:
    """One source; a reader takes its options out of it, and what is left over is a mistake.

    ``url`` is what is read; ``shown`` is the same for people, without a password.
    """

    kind: str
    url: str
    options: dict[str, str]
    known: set[str] = field(default_factory=set)

    @property
    def shown(self) -> str:
        """The URL with its options, without user and password."""
        parts = urlsplit(self.url)
        if "@" in parts.netloc:
            parts = parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2])
        options = "&".join(f"{name}={value}" for name, value in self.options.items())
        return urlunsplit(parts) + (f"#{options}" if options else "")

    def text(self, name: str, default: str = "") -> str:
        """Return an option as it was given."""
        self.known.add(name)
        return self.options.get(name, default)

    def required(self, name: str, what: str) -> str:
        """Return an option that has no default.

        Raises:
            UsageError: It was not given.
        """
        if not (found := self.text(name)):
            raise UsageError(f"--whitebox {self.kind}: say which {what}: {self.kind}:{self.url}#{name}=...")
        return found

    def number(self, name: str, default: float, least: float, most: float) -> float:
        """Return an option that is a number from *least* to *most*.

        Raises:
            UsageError: It is none, or out of range.
        """
        given = self.text(name, str(default))
        try:
            found = float(given)
        except ValueError:
            raise UsageError(f"--whitebox {self.kind}: {name} is a number, not {given!r}") from None
        if not least <= found <= most:
            raise UsageError(f"--whitebox {self.kind}: {name} is from {least:g} to {most:g}, not {given}")
        return found

    def pairs(self, name: str) -> dict[str, str]:
        """Return an option of the form ``a:b,c:d``.

        Raises:
            UsageError: It has another form.
        """
        found = {}
        for part in filter(None, self.text(name).split(",")):
            left, colon, right = part.rpartition(":")
            if not colon:
                raise UsageError(f"--whitebox {self.kind}: {name} is a:b,c:d, not {part!r}")
            found[left.strip()] = right.strip()
        return found

    def states(self, name: str = "map") -> dict[str, State]:
        """Return an option ``value:state,...`` as what each value means.

        Raises:
            UsageError: A state is none of closed, open and half_open.
        """
        found = {}
        for value, word in self.pairs(name).items():
            state = state_of(word)
            if state is None:
                raise UsageError(
                    f"--whitebox {self.kind}: states are closed, open and half_open, not {word!r}"
                )
            found[value] = state
        return found

    @property
    def timeout_s(self) -> float:
        """How long one look may take."""
        return self.number("timeout_s", TIMEOUT_S, 0.1, TIMEOUT_MOST_S)

    @property
    def every_s(self) -> float:
        """How long from one look to the next."""
        return self.number("every_s", EVERY_S, EVERY_LEAST_S, EVERY_MOST_S)

    @property
    def link(self) -> str:
        """Of several links, the one behind the breaker that is read."""
        return self.text("link")

    @property
    def authorization(self) -> Mapping[str, str]:
        """The Authorization header, out of the environment variable that ``authorization_env`` names.

        Raises:
            UsageError: There is no such variable.
        """
        value = self.secret("authorization_env")
        return {"Authorization": value} if value else {}

    def secret(self, option: str) -> str:
        """Return what the environment variable holds that *option* names; empty without the option.

        Raises:
            UsageError: There is no such variable.
        """
        name = self.text(option)
        if name and not os.environ.get(name):
            raise UsageError(f"--whitebox {self.kind}: {option}: there is no variable {name}")
        return os.environ[name] if name else ""

    def check(self) -> None:
        """Refuse options that nobody took.

        Raises:
            UsageError: There is one.
        """
        if unknown := sorted(set(self.options) - self.known):
            raise UsageError(
                f"--whitebox {self.kind}: no option is called {unknown[0]!r}; "
                f"there are {', '.join(sorted(self.known))}"
            )


def parse(spec: str) -> Address:
    """Read ``KIND:URL#option=value&option=value``.

    Raises:
        UsageError: It has another form.
    """
    kind, colon, rest = spec.partition(":")
    url, _, options = rest.partition("#")
    if not colon or not url:
        raise UsageError(f"--whitebox is KIND:URL or KIND:URL#option=value&..., not {spec!r}")
    try:
        return Address(
            kind, url, dict(parse_qsl(options, keep_blank_values=True, strict_parsing=bool(options)))
        )
    except ValueError:
        raise UsageError(
            f"--whitebox {kind}: options are option=value&option=value, not {options!r}"
        ) from None


def state_of(word: str) -> State | None:
    """Return what a source's *word* means, or None where nobody can know."""
    return WORDS.get(word.strip().lower().replace("-", "_").replace(" ", "_"))
