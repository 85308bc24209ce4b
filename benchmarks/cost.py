"""What a program costs: `python benchmarks/cost.py PROGRAM [ARGUMENT …]` prints seconds and MiB of memory as JSON.

A process of its own, with nothing imported: the system counts what a process was forked from as its memory.
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
