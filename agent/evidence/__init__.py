"""What a run's timeline means; pure functions of the record."""
