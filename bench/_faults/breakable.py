"""A fault that is a file, for benches of how soon it is gone; imported by the processes under test."""

from __future__ import annotations

import time
from pathlib import Path

from agent.model import Call, Fact
from agent.safety.door import inject


def break_file(*, path: str, max_duration_s: float = 60.0) -> object:
    """Make the file *path*; its absence is the steady state."""
    place = {"path": path}
    return inject(
        fault="breakable.file",
        victims=[Path(path).name],
        population=1,
        apply=Path(path).touch,
        undo=Call(func="breakable:mend", arguments=place),
        landed_check=Call(func="breakable:is_broken", arguments=place),
        gone_check=Call(func="breakable:is_whole_fact", arguments=place),
        max_duration_s=max_duration_s,
        asked={},
    )


def break_plainly(*, path: str) -> None:
    """Make the file the way an action of any extension would."""
    Path(path).touch()


def mend(*, path: str) -> None:
    """Undo."""
    Path(path).unlink(missing_ok=True)


def is_broken(*, path: str) -> Fact:
    """Tell whether it is in."""
    return Fact(holds=Path(path).exists())


def is_whole_fact(*, path: str) -> Fact:
    """Tell whether it is gone."""
    return Fact(holds=not Path(path).exists())


def is_whole(*, path: str) -> bool:
    """Tell the steady state."""
    return not Path(path).exists()


def block(*, s: float) -> None:
    """Block, as many an action does."""
    time.sleep(s)


def is_fine() -> bool:
    """Tell a steady state that nothing disturbs."""
    return True
