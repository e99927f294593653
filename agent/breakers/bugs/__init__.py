"""The bugs of breakers, each recognised by what it does to the two streams.

A detector is a function of a view and its properties, declared with its title, severity and advice in
the module that is about what it looks at; declaring it is all it takes to add one.  It returns evidence
that a reader can check, or None, and it must return None where it cannot tell: a finding on a correct
breaker is as bad as a miss.  So it is silent

- when what it needs was not played (a kind of fault, a pause, a burst), or too few calls were made then;
- when another bug, or an ordinary rule of breakers (a rate, a window, a growing open time), explains as
  well what it sees: it then asks that bug's detector, or the property, first;
- when the inference itself is in doubt: transitions whose brackets are wider than what it compares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.breakers.bugs import (
    answers,
    checks,
    clock,
    half_open,
    hosts,
    load,
    open_time,
    opening,
    recovery,
    waiting,
)
from agent.breakers.bugs.detector import Detector
from agent.breakers.bugs.sharing import SHARED_OVER_KEYS, SHARED_STATE

if TYPE_CHECKING:
    from types import ModuleType


def _declared(*modules: ModuleType) -> dict[str, Detector]:
    return {
        each.bug: each
        for module in modules
        for each in vars(module).values()
        if isinstance(each, Detector) and each.look.__module__ == module.__name__
    }


DETECTORS = _declared(opening, hosts, answers, half_open, open_time, clock, recovery, waiting, load, checks)
"""Every detector by the name of its bug, in the order in which findings are told."""

NAMES = (*DETECTORS, SHARED_OVER_KEYS.bug, SHARED_STATE.bug)
"""Every bug that can be found, by a detector or in several streams together."""
