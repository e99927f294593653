"""A sharded leaderboard to break, on loopback: gateway, three shards, links of the fault proxy between."""
