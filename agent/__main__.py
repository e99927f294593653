"""The command ``gameday``; stays light, because fork servers and completions import it."""


def main() -> None:
    """Run the command line."""
    from agent.cli import app  # noqa: PLC0415  # processes of a run import this module and need none of it

    app()


if __name__ == "__main__":
    main()
