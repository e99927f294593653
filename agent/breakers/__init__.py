"""What a circuit breaker really does, inferred from the calls on either side of it; pure, no effects.

Two streams go in: the calls of a client at the service's entry, and the arrivals at its dependency.
What comes out is the breaker's sequence of states with brackets around each transition.  No library,
threshold or number of states is assumed.
"""
