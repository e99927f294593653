"""What the two sides of a Job write on it for each other, and how long each waits for the other.

Neither compares clocks: each counts by its own how long ago it saw something change.
"""

from __future__ import annotations

EXECUTES = "gameday/executes"
"""Label on Job and pod: the run that lives in it.  Not ``gameday/run``, which marks what a run broke."""
MANAGED = "app.kubernetes.io/managed-by"
STOP = "gameday/stop"
"""Annotation, from outside: the run is to end, and why."""
BEAT = "gameday/beat"
"""Annotation, from inside: a number that grows while the run lives."""
PHASE = "gameday/phase"
"""Annotation, from inside: where the run is."""
PARTS = "gameday/parts"
"""Annotation, from inside, the last word: the report lies in so many ConfigMaps."""

LOOK_EVERY_S = 1.0
"""How often the pod reads its Job, and so how soon a halt reaches it."""
BEAT_EVERY_S = 5.0
PATIENCE_S = 20.0
"""Inside: a run whose Job could not be read for so long ends itself, since nobody could stop it."""
SILENCE_S = 20.0
"""Outside: after so long without a new beat the run is asked to end."""
FENCE_S = PATIENCE_S + 25.0
"""Outside: after so much more it is taken for dead; by then it has ended itself, if it lived, and healed."""
START_WITHIN_S = 180.0
"""From the Job to the first beat: a node has to be found, and the image to be pulled."""
GRACE_S = 60
"""What the pod has between SIGTERM and SIGKILL: to heal, look again and send its report."""
REFUSED = 4
"""Exit code of the pod: nothing was begun, and the container's last words (``LAST_WORDS``) say why."""
LAST_WORDS = "/dev/termination-log"
"""Where a container leaves them for the kubelet; any user may write there."""


def name_of(run: str) -> str:
    """Return what the Job of *run*, its Secret and its ConfigMaps are called."""
    return f"gameday-{run}"
