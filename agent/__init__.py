"""A resilience agent: it breaks things on purpose, checks what happened, and leaves nothing broken."""

__version__ = "0.1.0"
