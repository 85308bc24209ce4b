"""Plan every shipped study, as it is and with `--quick`; nothing is trained.

Prints the rows of the table in docs/chapter11.md, "What a study costs".
"""

from lit_cifar.study.plan import plan_runs, plan_searches
from lit_cifar.study.schema import Study
from lit_cifar.study.shipped import shipped_studies
from lit_cifar.study.study_file import load_study

FIRST_LOOK = 4
"""Seeds of the first look at a study's answers."""


def epochs(study: Study, seeds: int) -> int:
    """The most epochs of all runs with so many seeds, without learning-rate searches."""
    return sum(run.protocol.max_epochs for run in plan_runs(study, {}, seeds=range(seeds)))


def row(study: Study) -> str:
    """What a study costs: runs, searches, epochs after the first look, at most, and with `--quick`."""
    most, quick = study.most_seeds, study.quickly()
    counts = f"{len(study.runs)} | {len(plan_searches(study, {})) or '–'} | {epochs(study, min(most, FIRST_LOOK)):,}"
    return f"| `{study.name}` | {counts} | {epochs(study, most):,} ({most}) | {epochs(quick, quick.most_seeds):,} |"


names = shipped_studies()
if not names:
    raise SystemExit("no study was shipped")
for name in names:
    print(row(load_study(name)))
