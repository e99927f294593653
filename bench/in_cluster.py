"""What the agent holds while it waits in a cluster: every process of its container, shared pages shared out.

Needs ``deploy/try`` (or any agent called ``gameday`` in a namespace ``gameday``) where ``KUBECONFIG`` leads,
and kubectl; ``BENCH_AGENT_NAMESPACE`` names another namespace.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

GOAL_MB = 120
FIGURE = "agent waiting in a cluster, MB"
HELD = """
import os, pathlib
total = 0
for process in pathlib.Path("/proc").glob("[0-9]*"):
    if int(process.name) != os.getpid():
        for line in (process / "smaps_rollup").read_text().splitlines():
            total += int(line.split()[1]) if line.startswith("Pss:") else 0
print(total / 1024)
"""


def main(_: Sequence[str]) -> list[dict[str, Any]]:
    """Return the row of the table."""
    row = {"figure": FIGURE, "peer": "-", "ratio": None, "goal": f"<= {GOAL_MB}"}
    namespace = os.environ.get("BENCH_AGENT_NAMESPACE", "gameday")
    kubectl = shutil.which("kubectl")
    if kubectl is None or "KUBECONFIG" not in os.environ:
        return [
            row | {"ours": "-", "met": False, "note": "needs kubectl and KUBECONFIG; nothing was measured"}
        ]
    words = [kubectl, "--namespace", namespace, "exec", "deployment/gameday", "--", "python", "-c", HELD]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        return [row | {"ours": "-", "met": False, "note": done.stderr.strip()}]
    held = float(done.stdout)
    return [row | {"ours": f"{held:.0f}", "met": held <= GOAL_MB}]
