"""Observes systems for steady-state hypotheses; never changes anything and never imports a fault."""
