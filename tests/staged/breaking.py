"""A fault that is a file, and that can die at every step; imported by the processes under test."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from agent.model import Call, Fact
from agent.safety.door import inject


def die_if(step: str, at: str, marker: Path) -> None:
    """Kill this process the way nothing can catch, once."""
    if step == at and not marker.exists():
        marker.write_text(step)
        os.kill(os.getpid(), signal.SIGKILL)


def break_file(*, path: str, die_at: str = "", max_duration_s: float = 60.0) -> object:
    """Make the file *path*, which nobody wants; dies at the step *die_at*."""
    broken, marker = Path(path), Path(path + ".died")
    die_if("before_record", die_at, marker)
    place = {"path": path, "die_at": die_at}

    def apply() -> None:
        die_if("after_record", die_at, marker)
        broken.write_text("broken")
        die_if("after_apply", die_at, marker)

    return inject(
        fault="breaking.file",
        victims=[broken.name],
        population=1,
        apply=apply,
        undo=Call(func="breaking:mend", arguments=place),
        landed_check=Call(func="breaking:is_broken", arguments=place),
        gone_check=Call(func="breaking:is_mended", arguments=place),
        max_duration_s=max_duration_s,
        asked={},
    )


def mend(*, path: str, die_at: str) -> None:
    """Undo; slowly at the step ``slow_heal``."""
    if die_at == "slow_heal":
        time.sleep(3.0)
    die_if("before_heal", die_at, Path(path + ".died"))
    Path(path).unlink(missing_ok=True)
    die_if("during_heal", die_at, Path(path + ".died"))


def is_broken(*, path: str, die_at: str) -> Fact:
    """Tell whether it landed."""
    die_if("landing", die_at, Path(path + ".died"))
    return Fact(holds=Path(path).exists())


def is_mended(*, path: str, die_at: str) -> Fact:
    """Tell whether it is gone."""
    return Fact(holds=not Path(path).exists(), says=f"{path} is still there ({die_at})")


def is_fine() -> bool:
    """Tell the steady state, which is always met."""
    return True


def is_whole(*, path: str) -> bool:
    """Tell the steady state, which the fault breaks."""
    return not Path(path).exists()


class _Slow:
    """Takes longer to go than a run may be silent for."""

    def __del__(self) -> None:
        time.sleep(3.0)


def misbehave(*, how: str) -> object:
    """Do one of the things that an action must never do."""
    if how == "raise":
        raise RuntimeError("no")
    if how == "exit":
        raise SystemExit(3)
    if how == "print":
        for _ in range(64):
            sys.stdout.write("x" * (1 << 20))
    if how == "fork":
        os.fork()
    if how == "linger":
        sys.modules["lingers"] = _Slow()  # type: ignore[assignment]  # goes with the interpreter
    return {1, 2} if how == "set" else None


def leak(*, secrets: dict[str, str]) -> object:
    """Print a secret, log it, return it: what an extension may do by mistake."""
    sys.stdout.write(secrets["token"] + "\n")
    return {"called": f"https://shop.example/?token={secrets['token']}"}
