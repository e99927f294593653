"""The dead man of a changed value: runs as a Job in the cluster and puts the value back when nobody renews.

It reads one Lease, knows no ledger and no run, listens nowhere, and undoes nothing but the changes in
its order: the agent undoes them by the very same functions.
"""
