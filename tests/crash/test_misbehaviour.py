"""Actions may do what they like; the run still ends with a verdict, and nothing stays broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Stage


def _method(stage: Stage, how: str) -> list[dict[str, object]]:
    act = {"type": "python", "module": "breaking", "func": "break_file"}
    fault = {**act, "arguments": {"path": str(stage.broken)}}
    bad = {"type": "python", "module": "breaking", "func": "misbehave", "arguments": {"how": how}}
    return [
        {"name": "break", "type": "action", "provider": fault},
        {"name": "misbehave", "type": "action", "provider": bad},
    ]


@pytest.mark.parametrize("how", ["raise", "exit", "print", "fork", "set"])
def test_an_action_that_misbehaves_leaves_nothing_broken(stage: Stage, how: str) -> None:
    """It raises, exits, prints without end, forks, or returns what is no JSON."""
    path = stage.experiment(method=_method(stage, how))
    code, told, errors = stage.gameday("run", str(path), "--json")
    assert code in (0, 3), errors
    assert told["recovered"] is True
    assert "Traceback" not in errors
    assert not stage.broken.exists()
    assert stage.open_injections() == ()


def test_an_interpreter_that_takes_its_time_to_end_is_not_killed(stage: Stage) -> None:
    """Once nothing is broken the reaper is let go: silence at the very end is no death."""
    path = stage.experiment(method=_method(stage, "linger"))
    chaos = stage.start("chaostoolkit", "--no-version-check", "run", str(path))
    errors = chaos.communicate(timeout=60)[1]
    assert chaos.returncode == 0, errors
    assert stage.open_injections() == ()
    assert [each.state.name for each in stage.injections()] == ["HEALED"]


def test_a_hanging_action_ends_at_the_time_limit(stage: Stage) -> None:
    """The experiment's own limit ends it, healed."""
    path = stage.experiment(hold_s=2.5, gameday={"timeout_s": 3})
    text = path.read_text().replace('"after": 2.5', '"after": 2.9')
    path.write_text(text.replace('"timeout_s": 3', '"timeout_s": 2.95'))
    code, told, errors = stage.gameday("run", str(path), "--json")
    assert code == 3, errors
    assert "time limit" in told["reason"]
    assert not stage.broken.exists()


def test_on_the_leash_nothing_is_touched(stage: Stage) -> None:
    """Victims are named, the verdict is no pass, and the file is never made."""
    code, told, errors = stage.gameday("run", str(stage.experiment()), "--leash", "--json")
    assert (code, told["verdict"], told["leashed"]) == (3, "INCONCLUSIVE", True), errors
    assert told["injections"] == []


def test_a_state_folder_that_cannot_be_written_refuses(stage: Stage) -> None:
    """No durable record, no harm: a file stands where the folder should be."""
    stage.home.write_text("in the way")
    code, told, errors = stage.gameday("run", str(stage.experiment()), "--json")
    assert (code, told) == (4, None)
    assert "state folder" in errors
    assert "Traceback" not in errors
    assert not stage.broken.exists()


def test_a_good_run_is_held_and_filed(stage: Stage) -> None:
    """Steady throughout, landed, gone: exit 0, and the report is where it says."""
    from pathlib import Path

    path = stage.experiment(hold_s=1, gameday={"watch": {"every_s": 0.1}})
    code, told, errors = stage.gameday("run", str(path), "--json")
    assert (code, told["verdict"]) == (0, "HELD"), (told, errors)
    assert Path(told["report"]).read_text().startswith("<!")
    listed = stage.gameday("runs", "--json")[1]
    assert [each["run"] for each in listed] == [told["run"]]


def test_a_probe_that_takes_its_time_to_be_imported_is_looked_at_all_the_same(stage: Stage) -> None:
    """The import belongs to no look, or a busy machine would never come to look."""
    (stage.folder / "heavy.py").write_text(
        "import time\n\ntime.sleep(1.0)\n\n\ndef is_fine() -> bool:\n    return True\n"
    )
    watch = {"every_s": 0.1, "look_timeout_s": 0.8}
    path = stage.experiment(hold_s=3, probe={"module": "heavy", "func": "is_fine"}, gameday={"watch": watch})
    code, told, errors = stage.gameday("run", str(path), "--json")
    assert (code, told["verdict"]) == (0, "HELD"), (told["reason"], errors)


def test_a_fault_beyond_the_radius_is_a_refusal_of_the_run(stage: Stage) -> None:
    """Exit code 4 and the door's sentence, whatever Chaos Toolkit wraps around it."""
    path = stage.experiment(gameday={"blast_radius": {"fraction": 0.5}})
    code, told, errors = stage.gameday("run", str(path), "--json")
    assert (code, told["verdict"]) == (4, "REFUSED"), errors
    assert told["reason"].startswith("1 victims")
    assert not stage.broken.exists()
