"""How a breaker is exercised: which phases, how long each, and when a further one would tell more."""
