"""Executes the runs of a study on a Ray cluster. Needs the extra `lit-cifar[ray]`."""

from __future__ import annotations

import io
import logging
import os
import shutil
import socket
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lit_cifar.study.engines.base import FinishedRun, run_here
from lit_cifar.study.engines.process_pool import TRIES
from lit_cifar.study.engines.replicas import MOST_REPLICAS, alike, run_in_stacks
from lit_cifar.study.finished import Row
from lit_cifar.study.plan import PlannedRun
from lit_cifar.study.run import Report
from lit_cifar.utils.errors import UserError
from lit_cifar.utils.warnings import silence_lightning

POLL_SECONDS = 0.5
CONNECT_SECONDS = 5


def check_address(address: str) -> None:
    """Check in seconds that a cluster answers at an address. Ray would try for more than a minute.

    Raises:
        UserError: If the address is invalid, or nothing answers there.
    """
    if address in ("auto", "local"):
        return
    host, port = _host_and_port(address)
    try:
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"No Ray cluster answers at {address!r}: {error}. `ray start --head` starts one there; "
            "address=local starts one here."
        ) from error


def _host_and_port(address: str) -> tuple[str, int]:
    try:
        parts = urlsplit(address if "://" in address else f"ray://{address}")
        if parts.scheme == "ray" and parts.hostname and parts.port:
            return parts.hostname, parts.port
    except ValueError:  # the port is not a number
        pass
    raise UserError(f"address={address} is not an address: give the cluster's HOST:PORT, `auto` or `local`.")


def run_on_cluster(
    runs: Sequence[PlannedRun],
    study_folder: Path,
    report: Report,
    *,
    address: str,
    workers: int,
    replicas: int | None = None,
) -> Iterator[FinishedRun]:
    """Execute the runs on a cluster and copy the files of each run to the study's folder.

    On a cluster with GPUs, each GPU trains stacks of runs that differ only in seed and learning rate. Without GPUs each
    run takes one CPU. Runs whose machine or process dies are tried again, from their beginning. Every machine must have
    lit_cifar with the same variants, and the data at the same path.

    Args:
        address: Address of the cluster; `auto` for the cluster of this machine; `local` to start one here.
        workers: Number of tasks at a time for `local`.
        replicas: The most runs in a stack; 0 trains each by itself. Default: 128 with GPUs, 0 without.

    Raises:
        UserError: If Ray isn't installed, no cluster answers, or a run's process dies repeatedly.
    """
    with _cluster(address, workers) as ray:
        has_gpus = ray.cluster_resources().get("GPU", 0) > 0
        stacked = (MOST_REPLICAS if has_gpus else 0) if replicas is None else replicas
        needs = {"num_gpus": 1} if has_gpus and stacked else {"num_cpus": 1}
        news = ray.util.queue.Queue(actor_options={"num_cpus": 0})
        task = ray.remote(**needs, max_retries=TRIES - 1)(_execute_on_cluster)
        running = {task.remote(group, stacked, Path.cwd(), news): group for group in _tasks(runs, stacked)}
        while running:
            done, _ = ray.wait(list(running), timeout=POLL_SECONDS)
            for epoch in news.get_nowait_batch(news.qsize()):
                report(*epoch)
            for future in done:
                for run, (row, written) in zip(running.pop(future), ray.get(future), strict=True):
                    shutil.rmtree(study_folder / run.folder, ignore_errors=True)  # left by an interrupted attempt
                    _unpack(written, study_folder)
                    yield run, row, True


def _tasks(runs: Sequence[PlannedRun], replicas: int) -> list[list[PlannedRun]]:
    """The runs of each task: those of a stack, or one."""
    if not replicas:
        return [[run] for run in runs]
    return [group[start : start + replicas] for group in alike(runs) for start in range(0, len(group), replicas)]


@contextmanager
def _cluster(address: str, workers: int) -> Iterator[Any]:
    """The module `ray`, connected to a cluster until the block ends."""
    try:
        import ray
        import ray.util.queue
    except ImportError as error:
        raise UserError("Ray is not installed: pip install 'lit-cifar[ray]'.") from error
    local: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **local)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(f"No Ray cluster answers at {address!r}: {error}. address=local starts one here.") from error
    try:
        yield ray
    except ray.exceptions.RayError as error:
        raise UserError(f"The Ray cluster gave up: {error}. Finished runs are kept.") from error
    finally:
        ray.shutdown()


def _execute_on_cluster(
    runs: Sequence[PlannedRun], replicas: int, folder_here: Path, news: Any
) -> list[tuple[Row, bytes]]:
    """Each run's row, and its folder as an archive, because the machine may have other disks."""
    silence_lightning()
    if folder_here.is_dir():  # relative paths are relative to the user's current folder
        os.chdir(folder_here)
    with tempfile.TemporaryDirectory() as folder:
        engine = partial(run_in_stacks, replicas=replicas, others=run_here) if replicas else run_here
        done = engine(runs, Path(folder), lambda *epoch: news.put(epoch))
        found = {run.label: (row, _archived(run, Path(folder))) for run, row, _ in done}
    return [found[run.label] for run in runs]


def _archived(run: PlannedRun, folder: Path) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for file in sorted((folder / run.folder).rglob("*"), key=_result_last):
            tar.add(file, file.relative_to(folder), recursive=False)
    return archive.getvalue()


def _result_last(file: Path) -> tuple[bool, Path]:
    """Sort `result.json` last: if it exists, the run is finished."""
    return file.name == "result.json", file


def _unpack(archive: bytes, folder: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
