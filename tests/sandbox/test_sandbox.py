"""The leaderboard comes up, degrades honestly, restarts what dies, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.catalog.read import discover
from agent.clients.processes import created_at, named
from agent.sandbox import starter, state
from agent.sandbox.players import PLAYERS, SHARDS, shard_of

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
EXPERIMENTS = discover([ROOT / "experiments" / "sandbox"])

STARTER = """
import sys
from pathlib import Path
from agent.sandbox import starter
starter.up(Path({home!r}))
print(1, flush=True)
sys.stdin.read()
"""


def ask(url: str, player: int) -> tuple[dict[str, Any], str | None]:
    """Return what the gateway says of *player*, and its fallback's reason."""
    with urllib.request.urlopen(f"{url}/rank/{player}", timeout=5) as answer:  # noqa: S310  # loopback
        return json.loads(answer.read()), answer.headers.get("x-degraded")


def test_every_shard_has_players() -> None:
    """The hash spreads them, so that a fault of one shard hits some and spares others."""
    shares = [sum(shard_of(str(p)) == shard for p in range(PLAYERS)) / PLAYERS for shard in SHARDS]
    assert min(shares) > 0.2


def test_a_player_gets_a_rank_and_a_stranger_none(
    sandbox: tuple[Path, dict[str, Any]], until: Callable[..., Any]
) -> None:
    """Through gateway, link and shard; after another test's fault, once the breaker has closed."""
    url = sandbox[1]["url"]
    assert until(lambda: ask(url, 7)[0]["rank"]) >= 1
    assert ask(url, 7)[1] is None
    assert until(lambda: ask(url, PLAYERS + 1)[1] is None)
    assert ask(url, PLAYERS + 1)[0]["rank"] is None


def test_a_killed_shard_degrades_honestly_and_is_restarted(
    sandbox: tuple[Path, dict[str, Any]], until: Callable[..., Any]
) -> None:
    """Its players are told that the rank is unavailable, until the replacement is up."""
    home, told = sandbox
    name = shard_of("7")
    before = state.read(home)
    assert before is not None
    old = next(shard["pid"] for shard in before["shards"] if shard["name"] == name)
    os.kill(old, signal.SIGKILL)
    assert until(lambda: ask(told["url"], 7)[1])
    until(lambda: [p for p in named(f"sandbox/{name}", home=home) if p.pid != old])
    until(lambda: ask(told["url"], 7)[0]["rank"])
    now = state.read(home)
    assert now is not None
    assert next(shard["pid"] for shard in now["shards"] if shard["name"] == name) != old


def test_two_sandboxes_live_side_by_side_and_down_leaves_nothing(tmp_path: Path) -> None:
    """Each home has its own ports and processes."""
    one, two = tmp_path / "one", tmp_path / "two"
    boxes = [starter.up(one), starter.up(two, detach=True)]
    try:
        assert boxes[0].state["url"] != boxes[1].state["url"]
        assert len({p.name for p in named("sandbox/*", home=one)}) == 5
    finally:
        boxes[0].end()
        assert starter.down(two)
    assert named("sandbox/*", home=one) == named("sandbox/*", home=two) == ()
    assert state.read(one) is state.read(two) is None


def test_the_sandbox_dies_with_its_starter_and_with_its_supervisor(
    tmp_path: Path, until: Callable[..., Any]
) -> None:
    """SIGKILL to whoever started it, then to the supervisor itself: no orphans."""
    for victim in ("starter", "supervisor"):
        home = tmp_path / victim
        code = STARTER.format(home=str(home))
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline()
        running = state.read(home)
        assert running is not None
        if victim == "starter":
            process.kill()
        else:
            os.kill(running["supervisor"]["pid"], signal.SIGKILL)
        until(lambda home=home: not named("sandbox/*", home=home))
        until(lambda running=running: created_at(running["supervisor"]["pid"]) is None)
        process.kill()
        process.communicate()


def _short(path: Path, folder: Path) -> Path:
    """Return a copy of the experiment at *path* that holds its fault for a second only."""
    text = path.read_text().replace("pauses: {after: 6}", "pauses: {after: 1}")
    short = folder / path.name
    short.write_text(text.replace("warm_up_s: 3.5", "warm_up_s: 1.5"))
    return short


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: p.stem)
def test_every_experiment_plays_under_plain_chaos_run(
    path: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    """The engine alone plays the file, the fault lands, and it is healed."""
    chaos = [sys.executable, "-m", "chaostoolkit", "--no-version-check", "run", str(_short(path, tmp_path))]
    done = subprocess.run(
        chaos, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    journal = json.loads((tmp_path / "journal.json").read_text())
    (action,) = journal["run"]
    assert action["status"] == "succeeded", done.stderr
    assert action["output"]["landed"] is True
    assert journal["rollbacks"][0]["output"]["healed"]
    told = subprocess.run(
        [sys.executable, "-m", "agent", "ledger", "--json"], env=environ, capture_output=True, check=True
    )
    assert json.loads(told.stdout) == []


@pytest.mark.quiet
def test_a_gateway_more_impatient_than_the_delay_turns_the_slow_shard_to_held(tmp_path: Path) -> None:
    """Slow answers become errors, which the breaker counts; nothing but its timeout was changed."""
    box = starter.up(tmp_path, gateway_timeout_s=0.1)
    try:
        environ = {**os.environ, "GAMEDAY_HOME": str(tmp_path), "GAMEDAY_SANDBOX_URL": box.state["url"]}
        file = str(ROOT / "experiments" / "sandbox" / "survives-a-slow-shard.yaml")
        done = subprocess.run(
            [sys.executable, "-m", "agent", "run", file, "--json"],
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        box.end()
    told = json.loads(done.stdout)
    assert (done.returncode, told["verdict"]) == (0, "HELD"), told["reason"]
