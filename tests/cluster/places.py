"""Where things are kept between runs and during one, and the addresses inside a cluster."""

from __future__ import annotations

import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gameday-tests"
"""Binaries and images, by the hash of what they are made from."""
CLUSTERS = CACHE / "clusters"
"""One folder for each cluster that is up, named as its cgroups are."""
FAILED = CACHE / "logs-of-the-last-failure"

API_PORT = 6443
NODES_CIDR = "172.30.0.0/24"
PODS_CIDR = "10.244.0.0/16"
SERVICES_CIDR = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
HUB = "172.30.0.1"
"""The control plane as the nodes see it; none of these is ever seen outside the cluster's namespaces."""


def node_name(number: int) -> str:
    """Return the name of node *number*, counted from 1."""
    return f"node-{number}"


def node_address(number: int) -> str:
    """Return the address of node *number*."""
    return f"172.30.0.{10 + number}"


def pods_of(number: int) -> str:
    """Return the range that the pods of node *number* get their addresses from."""
    return f"10.244.{number}.0/24"
