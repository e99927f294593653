"""What faults of a cluster share: who may be hit, with which rights, step by step, and who puts it back."""
