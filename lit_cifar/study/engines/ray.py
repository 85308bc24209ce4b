"""Executes the runs of a study on a Ray cluster. Needs the extra `lit-cifar[ray]`."""

from __future__ import annotations

import logging
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from lit_cifar.study.engines.base import FinishedRun
from lit_cifar.study.engines.process_pool import TRIES
from lit_cifar.study.engines.ray_task import POLL_SECONDS, Done, execute_on_cluster, unpack
from lit_cifar.study.engines.replicas import MOST_REPLICAS, alike
from lit_cifar.study.plan import PlannedRun
from lit_cifar.study.run import Report
from lit_cifar.utils.errors import UserError

CONNECT_SECONDS = 5

TASKS = "ray"
"""Folder, in the study's folder, in which the tasks of a cluster save their stacks."""


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

    On a cluster with GPUs, each GPU trains stacks of runs that differ only in seed and learning rate. Runs that can't
    be stacked, and all runs of a cluster without GPUs, take one CPU each, on any machine. A task whose machine or
    process dies is repeated. Where the machines share the study's folder, a stack then continues from the epoch that
    was saved last, also when the study is interrupted; otherwise it begins again. Every machine must have lit_cifar
    with the same variants, and the data at the same path.

    Args:
        runs: The runs.
        study_folder: Folder of the study.
        report: Called after each epoch.
        address: Address of the cluster; `auto` for the cluster of this machine; `local` to start one here.
        workers: Number of tasks at a time for `local`.
        replicas: The largest number of runs in a stack; 0 trains each by itself. Default: 128 with GPUs, 0 without.

    Raises:
        UserError: If Ray isn't installed, no cluster answers, or the process of a task dies repeatedly.
    """
    with _cluster(address, workers) as ray, _folder_of_tasks(study_folder) as token:
        has_gpus = ray.cluster_resources().get("GPU", 0) > 0
        size = (MOST_REPLICAS if has_gpus else 0) if replicas is None else replicas
        tasks = _Tasks(ray, token, report)
        tasks.submit(runs, replicas=size, on_gpus=has_gpus and size > 0)
        while tasks.running:
            for group, found in tasks.finished():
                tasks.submit([run for run in group if run.label not in found], replicas=0)
                done = [run for run in group if run.label in found]
                for run in done:  # all before the first `yield`, at which a study may stop
                    shutil.rmtree(study_folder / run.folder, ignore_errors=True)  # left by an interrupted attempt
                    unpack(found[run.label][1], study_folder)
                yield from ((run, found[run.label][0], True) for run in done)
        tasks.pass_on_messages()


class _Tasks:
    """The tasks that a cluster works on.

    Args:
        ray: The module `ray`, connected to the cluster.
        token: A file in the folder in which tasks save their stacks; machines that see it share the folder.
        report: Called after each epoch.
    """

    def __init__(self, ray: Any, token: Path, report: Report) -> None:
        self.running: dict[Any, Sequence[PlannedRun]] = {}
        self._ray = ray
        self._token = token
        self._report = report
        self._messages = ray.util.queue.Queue(actor_options={"num_cpus": 0})

    def submit(self, runs: Sequence[PlannedRun], *, replicas: int, on_gpus: bool = False) -> None:
        """Start tasks for these runs: stacks of up to `replicas` runs, or with 0, one task for each run."""
        needs = {"num_gpus": 1} if on_gpus else {"num_cpus": 1, "num_gpus": 0}
        task = self._ray.remote(**needs, max_retries=TRIES - 1)(execute_on_cluster)
        for group in _groups(runs, replicas):
            self.running[task.remote(group, replicas, Path.cwd(), self._token, self._messages)] = group

    def finished(self) -> Iterator[tuple[Sequence[PlannedRun], Mapping[str, Done]]]:
        """Wait a little. Yields the runs of each task that is finished, and what it has done, by the runs' labels."""
        futures, _ = self._ray.wait(list(self.running), timeout=POLL_SECONDS)
        self.pass_on_messages()
        for future in futures:
            yield self.running.pop(future), self._ray.get(future)

    def pass_on_messages(self) -> None:
        """Report the epochs that tasks have finished, and print what they have written to stderr."""
        for message in self._messages.get_nowait_batch(self._messages.qsize()):
            if isinstance(message, str):
                sys.stderr.write(message)
            else:
                self._report(*message)


def _groups(runs: Sequence[PlannedRun], replicas: int) -> list[list[PlannedRun]]:
    """The runs of each task."""
    if not replicas:
        return [[run] for run in runs]
    return [group[start : start + replicas] for group in alike(runs) for start in range(0, len(group), replicas)]


@contextmanager
def _folder_of_tasks(study_folder: Path) -> Iterator[Path]:
    """A token in the folder for the stacks of tasks. The folder is deleted when all tasks are finished."""
    folder = study_folder.absolute() / TASKS
    folder.mkdir(parents=True, exist_ok=True)
    token = folder / uuid4().hex
    token.touch()
    try:
        yield token
    finally:
        token.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


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
