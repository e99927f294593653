"""Runs in Kubernetes Jobs of their own: how one is sent out, tied to its Job, followed, and taken in."""
