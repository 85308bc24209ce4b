"""How the runs of a study are executed: in worker processes or on a Ray cluster."""
