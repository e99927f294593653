"""Experiment files: read them, refuse everything Chaos Toolkit lets through, describe the format.

Nothing here runs an experiment, and nothing here imports an activity's module into this process.
"""
