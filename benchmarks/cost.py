"""Measures a program: `python benchmarks/cost.py PROGRAM [ARGUMENT …]` prints seconds and MiB of memory as JSON.

This is a separate process that imports nothing, because the memory of a forked process includes that of its parent.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time


def main() -> None:
    started = time.perf_counter()
    subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"seconds": seconds, "mib": peak / 2**20}))


if __name__ == "__main__":
    main()
