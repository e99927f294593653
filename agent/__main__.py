"""The command ``gameday``; stays light, because fork servers and completions import it."""

import os


def main() -> None:
    """Run the command line."""
    if os.getpid() == 1:  # in a container; before the imports, which the first process needs none of
        from agent.first_process import stand_in  # noqa: PLC0415

        stand_in()
    from agent.cli import app  # noqa: PLC0415  # processes of a run import this module and need none of it

    app()


if __name__ == "__main__":
    main()
