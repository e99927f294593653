"""Open-loop load: requests leave by the clock, whatever the answers do, and each leaves a sample."""
