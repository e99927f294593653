"""Modules are imported in a process of their own, whatever they do there."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from agent.catalog.modules import ask, modules

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent.catalog.modules import Module


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that modules are imported from."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def asked(*names: str, **limits: float) -> dict[str, Module]:
    """Return what is found out about *names*."""
    return {module.name: module for module in ask(names, **limits)}


BAD = {
    "raises": ("raise ValueError('not today')", "ValueError: not today"),
    "exits": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "interrupts": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "broken": ("def f(:", "SyntaxError"),
    "lacks": ("import no_such_module", "No module named 'no_such_module'"),
    "vanishes": ("import os; os._exit(0)", "ended the process"),
    "killed": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended the process"),
}


@pytest.mark.parametrize("name", BAD)
def test_an_import_that_fails_is_told(folder: Path, name: str) -> None:
    """A module that raises, exits or dies on import is named with the reason; the others are found."""
    source, error = BAD[name]
    (folder / f"{name}.py").write_text(source)
    (folder / "zebra.py").write_text("def stripes(count: int): ...")
    found = asked(name, "zebra")
    assert error in found[name].error
    assert list(found["zebra"].functions) == ["stripes"]


def test_an_import_that_hangs_is_ended(folder: Path) -> None:
    """A module that hangs on import costs its time limit, and nothing of it is left running."""
    (folder / "hangs.py").write_text(
        "import os, pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "pathlib.Path(__file__).with_name('pids').write_text(f'{os.getpid()} {child.pid}')\n"
        "time.sleep(600)\n"
    )
    (folder / "zebra.py").write_text("def stripes(): ...")
    found = asked("hangs", "zebra", import_limit_s=3)
    assert "took longer than 3 s" in found["hangs"].error
    assert not found["zebra"].error
    pids = [int(pid) for pid in (folder / "pids").read_text().split()]
    assert gone(pids)


def gone(pids: list[int]) -> bool:
    """Return whether the processes *pids* end, within a while."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if not any(psutil.pid_exists(p) and psutil.Process(p).status() != psutil.STATUS_ZOMBIE for p in pids):
            return True
    return False


def test_what_a_module_starts_is_ended_with_it(folder: Path) -> None:
    """A process that an import leaves behind neither delays the answer nor outlives it."""
    (folder / "leaves.py").write_text(
        "import os, pathlib, time\n"
        "pid = os.fork()\n"
        "if pid == 0:\n    time.sleep(600)\n"
        "pathlib.Path(__file__).with_name('pids').write_text(str(pid))\n"
    )
    started = time.monotonic()
    assert not asked("leaves", import_limit_s=60)["leaves"].error
    assert time.monotonic() - started < 30
    assert gone([int((folder / "pids").read_text())])


def test_all_imports_of_a_file_have_one_limit(folder: Path) -> None:
    """Many modules that hang do not add up: after the limit the rest is not looked at."""
    for name in "abcdef":
        (folder / f"slow_{name}.py").write_text("import time; time.sleep(600)")
    found = asked(*(f"slow_{name}" for name in "abcdef"), import_limit_s=0.5, limit_s=1)
    assert found["slow_f"].error == "the modules before it took too long"


def test_output_of_an_import_goes_nowhere(folder: Path) -> None:
    """A module that prints a lot on import does not disturb the answer."""
    (folder / "loud.py").write_text(
        "import os, sys\n"
        "for _ in range(2000): print('{}' * 5000); os.write(1, b'x' * 10000); os.write(2, b'x' * 10000)\n"
        "def quiet(): ...\n"
    )
    assert list(asked("loud")["loud"].functions) == ["quiet"]


def test_nothing_is_imported_into_this_process(folder: Path) -> None:
    """Asking about a module does not import it here."""
    (folder / "elsewhere.py").write_text("def f(): ...")
    assert modules(["elsewhere"])["elsewhere"].functions
    assert "elsewhere" not in sys.modules


def test_a_module_is_remembered_until_its_file_changes(folder: Path) -> None:
    """A module is imported once; when its file changes it is imported again."""
    source = folder / "changing.py"
    source.write_text("import pathlib\nwith open(__file__ + '.log', 'a') as f: f.write('x')\ndef one(): ...")
    log = folder / "changing.py.log"
    for _ in range(3):
        assert list(modules(["changing"])["changing"].functions) == ["one"]
    assert log.read_text() == "x"
    source.write_text("def one(): ...\ndef two(): ...\n")
    os.utime(source, (time.time() + 10, time.time() + 10))
    assert list(modules(["changing"])["changing"].functions) == ["one", "two"]


def test_a_missing_module_is_asked_for_again(folder: Path) -> None:
    """A module that could not be imported is found once it is there."""
    assert modules(["late"])["late"].error
    (folder / "late.py").write_text("def f(): ...")
    assert not modules(["late"])["late"].error


def test_siblings_of_a_missing_module_are_known() -> None:
    """For a missing module of a package, the package's other modules are named."""
    assert "sax" in asked("xml.sox")["xml.sox"].siblings


@pytest.fixture(autouse=True)
def _no_child_is_left() -> Iterator[None]:
    yield
    assert not [
        c
        for c in psutil.Process().children()
        if c.status() != psutil.STATUS_ZOMBIE and "importable" in " ".join(c.cmdline())
    ]
    assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
