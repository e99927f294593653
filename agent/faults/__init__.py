"""Breaks things, one module per thing that is hit; every harm goes through ``agent.safety.door``.

The package itself imports next to nothing: the injector in a pod needs two modules of it, at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.model import NotRecovered

if TYPE_CHECKING:
    from agent.model import Json


def heal() -> dict[str, Json]:
    """Heal everything that this run broke; the one entry of every ``rollbacks`` section.

    Returns:
        ``{"healed": ["links.delay", ...]}``

    Raises:
        NotRecovered: Something may still be broken; the message says what and why.
    """
    from agent import settings as settings_of  # noqa: PLC0415  # see above, like those below
    from agent.safety.context import current_run  # noqa: PLC0415
    from agent.safety.heal import heal as heal_run  # noqa: PLC0415
    from agent.store import Store  # noqa: PLC0415

    store = Store(settings_of.current().home)
    try:
        result = heal_run(store, current_run().id)
    finally:
        store.close()
    if not result.clean:
        left = "; ".join(f"{what}: {why}" for what, why in result.left)
        raise NotRecovered(f"NOT RECOVERED: {left}; run `gameday heal` again when that is mended")
    return {"healed": list(result.healed)}
