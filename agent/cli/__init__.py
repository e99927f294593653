"""The command ``gameday``: arguments in, results to stdout, everything else to stderr.

Each command imports what it needs when it runs, so that ``--help`` and completion stay quick.
"""

from __future__ import annotations

import typer

from agent.cli import breaking, looking, mending, playing, serving, storming

app = typer.Typer(
    name="gameday",
    help="Break things on purpose, tell the truth about what happened, and leave nothing broken.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
sandbox = typer.Typer(help="A sharded leaderboard on this machine, to break.", no_args_is_help=True)

for command, example in (
    (playing.run, "run experiments/sandbox/survives-a-killed-shard.yaml"),
    (playing.plan, "plan experiments/sandbox/survives-a-slow-shard.yaml"),
    (playing.validate, "validate experiments/"),
    (playing.check, "check --tag checkout --junit result.xml"),
    (playing.demo, "demo"),
    (mending.heal, "heal --all"),
    (mending.ledger, "ledger --json"),
    (mending.halt, 'halt --reason "incident 4711"'),
    (mending.resume, "resume"),
    (mending.audit, "audit --json"),
    (looking.runs, "runs --json"),
    (looking.show, "show 20261123-101500-3f9a2c"),
    (looking.report, "report 20261123-101500-3f9a2c --format junit --out result.xml"),
    (looking.doctor, "doctor"),
    (serving.serve, "serve --experiments experiments/"),
    (serving.proxy, "proxy --link db=127.0.0.1:5433->127.0.0.1:5432"),
):
    app.command(epilog=f"Example: gameday {example}")(command)
breaker = typer.Typer(help="What a circuit breaker really does, seen from outside.", no_args_is_help=True)
app.add_typer(breaker, name="breaker")
breaker.command(
    name="test",
    epilog="Example: gameday breaker test --entry http://127.0.0.1:8080/ "
    "--listen 127.0.0.1:9001 --upstream 127.0.0.1:9000",
)(breaking.breaker_test)
breaker.command(
    name="storm",
    epilog="Example: gameday breaker storm --entry http://127.0.0.1:8080/ --rate 100 "
    "--listen 127.0.0.1:9001 --upstream 127.0.0.1:9000",
)(storming.storm)
app.add_typer(sandbox, name="sandbox")
for command, example in (
    (serving.up, "sandbox up --detach"),
    (serving.down, "sandbox down"),
    (serving.status, "sandbox status --json"),
):
    sandbox.command(epilog=f"Example: gameday {example}")(command)
