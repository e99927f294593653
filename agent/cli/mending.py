"""Commands that look at what is broken, mend it, and stop everything."""
# ruff: noqa: PLC0415, FBT002  # imports: see the package; options are typer's, never positional

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.shared import AsJson, Leash, errors, open_shared, open_store, print_json, read_settings
from agent.model import NotRecovered, UsageError

if TYPE_CHECKING:
    from agent.model import Injection
    from agent.store import Store


def heal(
    run_id: Annotated[str | None, typer.Option("--run", help="Only this run.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also runs that are still going on.")] = False,
    leash: Leash = False,
    swept: Annotated[
        bool, typer.Option("--sweep", help="Also what carries a run's label in the cluster, ledger or not.")
    ] = False,
) -> None:
    """Undo what is broken and check that it is gone; by default what dead runs left behind."""
    from agent.compose import recover_home
    from agent.jobs.adopting import stop_all
    from agent.safety.heal import heal as heal_run

    with errors():
        store = open_store()
        broken = store.injections(run_id, open_only=True)
        if leash:
            for injection in broken:
                typer.echo(f"{injection.run}: {injection.fault} in {', '.join(injection.victims)}")
            return
        results = [] if run_id else [recover_home(read_settings(), store)]
        if run_id or everything:
            for each in stop_all(store, "Healed by hand", run=run_id):
                typer.echo(f"{each}: its Job was told to end", err=True)
            for each in sorted({injection.run for injection in broken}):
                store.abort(each)
                results.append(heal_run(store, each))
        for found in _sweep(store) if swept else ():
            typer.echo(f"swept: {found}", err=True)
        left = [one for result in results for one in result.left]
        typer.echo(f"healed: {sum(len(result.healed) for result in results)}, left: {len(left)}", err=True)
        if left:
            raise NotRecovered("NOT RECOVERED: " + "; ".join(f"{what}: {why}" for what, why in left))


def _sweep(store: Store) -> list[str]:
    from agent.sweep import sweep

    return sweep(store, read_settings())


def ledger(
    everything: Annotated[bool, typer.Option("--all", help="Healed ones too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what is broken now, as far as anybody knows."""
    with errors():
        injections = open_store().injections(open_only=not everything)
        if as_json:
            print_json([_row(injection) for injection in injections])
            return
        for each in injections:
            typer.echo(f"{each.state:14} {each.run}  {each.fault}  {', '.join(each.victims)}")
        if not injections:
            typer.echo("nothing is broken", err=True)


def _row(injection: Injection) -> dict[str, Any]:
    from agent.model import iso

    return {
        "run": injection.run,
        "fault": injection.fault,
        "victims": list(injection.victims),
        "state": injection.state,
        "intended_at": iso(injection.intended_at),
        "max_duration_s": injection.max_duration_s,
        "error": injection.error,
    }


def halt(reason: Annotated[str, typer.Option(help="Why; shown to whoever is refused.")] = "by hand") -> None:
    """Stop running runs within a second and refuse new ones until `gameday resume`."""
    from agent.jobs.adopting import stop_all

    with errors():
        store = open_store()
        try:
            _halt(store, reason)
        finally:
            for each in stop_all(store, f"Halted ({reason})"):
                typer.echo(f"{each}: its Job was told to end", err=True)


def _halt(store: Store, reason: str) -> None:
    """Halt all agents; where they cannot be reached, this one, and say so."""
    from agent.store import StoreUnavailable

    shared = open_shared()
    if shared is None:
        store.halt(reason)
        typer.echo("halted; `gameday resume` lifts it", err=True)
        return
    try:
        shared.halt(reason)
        typer.echo("halted, all agents; `gameday resume` lifts it", err=True)
    except StoreUnavailable as error:
        store.halt(reason)
        typer.echo(f"halted, but ONLY the agent of this home; the others were not told: {error}", err=True)
        raise


def resume() -> None:
    """Lift the halt."""
    with errors():
        lifted = open_store().resume()
        shared = open_shared()
        lifted = (shared.resume() if shared else False) or lifted
        typer.echo("resumed" if lifted else "was not halted", err=True)


def audit(as_json: AsJson = False) -> None:
    """List which agent did what, newest first; needs a store that agents share."""
    from dataclasses import asdict

    from agent.model import iso

    with errors():
        shared = open_shared()
        if shared is None:
            raise UsageError("GAMEDAY_STORE is not set, so nothing is shared; `gameday runs` lists the runs")
        entries = shared.audit()
        if as_json:
            print_json([{**asdict(each), "at": iso(each.at)} for each in entries])
            return
        for each in entries:
            typer.echo(f"{iso(each.at)}  {each.agent:20} {each.did:8} {each.what}")
