"""``python -m bench [NAME…] [--json FILE]``: run the benches and print one table."""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
from pathlib import Path

import bench


def main() -> None:
    """Run what was named, or everything."""
    names = [each.name for each in pkgutil.iter_modules(bench.__path__) if not each.name.startswith("_")]
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("names", nargs="*", help=f"one of {', '.join(names)}; default: all")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    rows = []
    for name in options.names or names:
        print(f"running {name}", flush=True)
        rows += importlib.import_module(f"bench.{name}").main([])
    notes = {row["figure"]: row.pop("note") for row in rows if "note" in row and not row["met"]}
    rows = [{key: each for key, each in row.items() if key != "note"} for row in rows]
    widths = {key: max(len(key), *(len(str(row[key])) for row in rows)) for key in rows[0]}
    print("  ".join(key.ljust(width) for key, width in widths.items()))
    for row in rows:
        print("  ".join(str(row[key]).ljust(width) for key, width in widths.items()))
    for figure, note in notes.items():
        print(f"missed: {figure}: {note}")
    if options.json:
        told = [row | {"note": notes.get(row["figure"], "")} for row in rows]
        options.json.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
