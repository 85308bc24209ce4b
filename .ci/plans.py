"""Plan every shipped study, as it is and with `--quick`, and print the number of runs; nothing is trained."""

from lit_cifar.study.plan import plan_runs
from lit_cifar.study.study_file import load_study, shipped_studies

names = shipped_studies()
if not names:
    raise SystemExit("no study was shipped")
for name in names:
    study = load_study(name)
    print(f"{name}: {len(plan_runs(study, {}))} runs, {len(plan_runs(study.quickly(), {}))} with --quick")
