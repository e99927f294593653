"""Amounts as Kubernetes writes them: ``200m`` of a processor, ``64Mi`` of memory."""

from __future__ import annotations

import re

_FACTORS = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_FACTORS |= {"E": 1e18, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_QUANTITY = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([numkMGTPE]?i?)")


def amount(text: str | float) -> float:
    """Return the number that *text* stands for.

    Raises:
        ValueError: It is no quantity.

    Source:
        Kubernetes API, "Quantity": a number with a decimal or binary suffix, or an exponent.
    """
    found = _QUANTITY.fullmatch(str(text).strip())
    if found is None or found[2] not in _FACTORS:
        raise ValueError(f"{text!r} is no quantity")
    return float(found[1]) * _FACTORS[found[2]]
