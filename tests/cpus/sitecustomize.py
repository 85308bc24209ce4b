"""Makes a process see PRETENDED_CPUS CPUs. `make test-cores` puts this folder on PYTHONPATH."""

import os

if "PRETENDED_CPUS" in os.environ:
    _cpus = int(os.environ["PRETENDED_CPUS"])
    os.cpu_count = lambda: _cpus
    if hasattr(os, "sched_getaffinity"):
        os.sched_getaffinity = lambda pid=0: set(range(_cpus))
    if hasattr(os, "process_cpu_count"):
        os.process_cpu_count = lambda: _cpus
