"""What keeps a broken thing from staying broken: the door, the ledger's healing, the dead men.

Knows no particular fault: a fault reaches this package as data.
"""
