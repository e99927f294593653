"""Plays an experiment in a child process and watches its steady state from another; judges nothing."""
