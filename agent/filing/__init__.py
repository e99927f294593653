"""Puts a report where people look; a failure here is told and never changes a verdict."""
