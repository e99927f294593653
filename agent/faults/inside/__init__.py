"""Faults inside pods, by an injector in each: put in, held by a stream, measured, followed, taken out."""
