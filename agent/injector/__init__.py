"""What breaks the network of one pod from inside it, for as long as whoever ordered it says so.

Runs in an ephemeral container with NET_ADMIN, or in any network namespace.  It takes orders on its
standard input, listens nowhere, knows no cluster, no ledger and no run.
"""
