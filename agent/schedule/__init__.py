"""Starts runs when they are due; the only room that knows apscheduler."""
