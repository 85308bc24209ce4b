"""Plan every shipped study, as it is and with `--quick`, and print what it costs at most; nothing is trained."""

from lit_cifar.study.plan import plan_runs
from lit_cifar.study.schema import Study
from lit_cifar.study.shipped import shipped_studies
from lit_cifar.study.study_file import load_study


def cost(study: Study) -> str:
    """The most runs and epochs of a study, without its learning-rate searches."""
    runs = plan_runs(study, {})
    epochs = sum(run.protocol.max_epochs for run in runs)
    return f"{len(runs)} runs, {epochs:,} epochs"


names = shipped_studies()
if not names:
    raise SystemExit("no study was shipped")
for name in names:
    study = load_study(name)
    print(f"{name}: {cost(study)}; with --quick {cost(study.quickly())}")
