"""What a breaker is like, in numbers with what they are worth."""
