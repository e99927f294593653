"""Several machines behind one entry: how calls come to each, who kept which back, the states of each."""
