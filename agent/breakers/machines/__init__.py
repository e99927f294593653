"""Which kind of machine decides about the calls, before any states are read."""
