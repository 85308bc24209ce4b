"""How the runs of a study are executed: here, in worker processes, in stacks, or on a Ray cluster."""
