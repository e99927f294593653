"""What the traffic of this run saw in a window that ends now."""

from __future__ import annotations

import time

from agent.model import NoEvidence
from agent.safety.context import current_run
from agent.traffic.samples import FILE, Outcome, Sample, percentile, why_missing, window

SAMPLES_MIN = 20


def success_ratio(*, window_s: float, key: str | None = None, samples_min: int = SAMPLES_MIN) -> float:
    """Return the share of requests answered below status 400, degraded ones included; 0 to 1.

    Args:
        window_s: Requests that completed (or failed, or timed out) in this many last seconds.
        key: Only requests with this key.
        samples_min: With fewer requests there is no answer.

    Raises:
        NoEvidence: Too few requests, or no traffic at all.
    """
    samples = _samples(window_s, key, samples_min)
    return sum(s.outcome == Outcome.OK for s in samples) / len(samples)


def degraded_ratio(*, window_s: float, key: str | None = None, samples_min: int = SAMPLES_MIN) -> float:
    """Return the share of requests answered by an honest fallback; see :func:`success_ratio`."""
    samples = _samples(window_s, key, samples_min)
    return sum(s.degraded for s in samples) / len(samples)


def latency_p50_ms(*, window_s: float, key: str | None = None, samples_min: int = SAMPLES_MIN) -> float:
    """Return the median latency from the intended departure, in milliseconds; failures count too."""
    return _latency_ms(0.5, window_s, key, samples_min)


def latency_p95_ms(*, window_s: float, key: str | None = None, samples_min: int = SAMPLES_MIN) -> float:
    """Return the 95th percentile of latency; see :func:`latency_p50_ms`."""
    return _latency_ms(0.95, window_s, key, samples_min)


def latency_p99_ms(*, window_s: float, key: str | None = None, samples_min: int = SAMPLES_MIN) -> float:
    """Return the 99th percentile of latency; see :func:`latency_p50_ms`."""
    return _latency_ms(0.99, window_s, key, samples_min)


def samples(*, window_s: float, key: str | None = None) -> int:
    """Return how many requests the other probes of this window answer from; 0 is an answer too."""
    return len(window(current_run().folder / FILE, since=time.time() - window_s, key=key))


def _latency_ms(share: float, window_s: float, key: str | None, samples_min: int) -> float:
    return percentile(sorted(s.latency_s for s in _samples(window_s, key, samples_min)), share) * 1000


def _samples(window_s: float, key: str | None, samples_min: int) -> list[Sample]:
    path = current_run().folder / FILE
    found = window(path, since=time.time() - window_s, key=key)
    if len(found) < samples_min:
        why = "" if path.exists() else f"; no traffic was started: {why_missing(path.parent)}"
        of = f" for key {key}" if key else ""
        raise NoEvidence(
            f"{len(found)} samples{of} in {window_s:g} s, at least {samples_min} are needed{why}"
        )
    return found
