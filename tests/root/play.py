"""Calls functions that it is told of, a line of JSON each, and answers in kind; an engine in small."""

from __future__ import annotations

import dataclasses
import json
import sys

from agent import settings
from agent.log import configure
from agent.model import Call


def main() -> None:
    """Answer until stdin ends."""
    configure(settings.current())
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            found = Call(func=asked["func"], arguments=asked["arguments"])()
            result = dataclasses.asdict(found) if dataclasses.is_dataclass(found) else found
            answer = {"result": result}
        except Exception as error:  # noqa: BLE001  # whatever it is, the test wants to see it
            answer = {"error": type(error).__name__, "says": str(error)}
        print(json.dumps(answer, default=str), flush=True)  # noqa: T201  # the answer


if __name__ == "__main__":
    main()
