"""How a breaker is exercised and a storm provoked: phases, recordings, and the link they are played on."""
