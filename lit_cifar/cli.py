"""Runs a command by its name; errors become one line and an exit code."""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from functools import partial

from lit_cifar.commands.flags import with_flags
from lit_cifar.commands.paths import check_paths
from lit_cifar.utils.console import messages_rewritten
from lit_cifar.utils.environment import explained, settle_environment
from lit_cifar.utils.errors import UserError
from lit_cifar.utils.signals import Terminated, ended_by_signals, interruptible
from lit_cifar.utils.suggestions import did_you_mean
from lit_cifar.utils.warnings import drop_unfounded_advice, one_report_of_system_errors

LIGHTNING_COMMANDS = ("fit", "validate", "test", "predict")
COMMANDS = (*LIGHTNING_COMMANDS, "compare", "judge", "lr-find", "export", "variants", "sources", "tensorboard")
SYNONYMS = {"train": "fit", "evaluate": "test", "eval": "test", "study": "compare", "classify": "predict"}
"""What other programs call our commands."""

INTERRUPTED, BROKEN_PIPE = 130, 141
"""Exit codes, as a shell has them for SIGINT and SIGPIPE."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MAKE_ROOM = "Make room; what was finished is kept: `fit --ckpt_path last` or the same `compare` goes on from there."


def run_command(command: str, arguments: Sequence[str]) -> int:
    """Run one of lit-cifar's commands; return its exit code."""
    drop_unfounded_advice()
    settle_environment()
    try:
        with (
            one_report_of_system_errors(),
            ended_by_signals(),
            interruptible(),
            messages_rewritten(partial(with_flags, command=command)),
        ):
            check_paths(command, arguments)
            _run(command, arguments)
            sys.stdout.flush()  # a full disk or a closed pipe shows here
    except UserError as error:
        return _fail(with_flags(str(error), command), error.exit_code)
    except _users_mistakes() as error:
        return _fail(with_flags(str(error), command))
    except PermissionError as error:
        return _fail(f"No permission for {error.filename}: choose another folder or change its permissions.")
    except BrokenPipeError:
        return BROKEN_PIPE  # without a word, as other programs before `head`
    except OSError as error:
        return _fail(_in_one_line(error))
    except KeyboardInterrupt as error:
        code = error.exit_code if isinstance(error, Terminated) else INTERRUPTED
        kept = " What was finished is kept; `compare` continues with the same command." if command == "compare" else ""
        return _fail(f"{str(error) or 'Interrupted.'}{kept}", code)
    except Exception as error:
        if (line := explained(error)) is None:
            raise
        return _fail(line)
    return 0


def _run(command: str, arguments: Sequence[str]) -> None:
    """Import only what the command needs, and run it."""
    if command in LIGHTNING_COMMANDS:
        from lit_cifar.commands.lightning import LitCifarCLI

        LitCifarCLI([command, *arguments])
    elif command == "compare":
        from lit_cifar.commands.compare import compare

        compare(arguments)
    elif command == "judge":
        from lit_cifar.commands.judge import judge

        judge(arguments)
    elif command == "lr-find":
        from lit_cifar.commands.lr_find import lr_find

        lr_find(arguments)
    elif command == "export":
        from lit_cifar.commands.export import export

        export(arguments)
    elif command == "variants":
        from lit_cifar.commands.variants import run_variants_command

        run_variants_command(arguments)
    elif command == "sources":
        from lit_cifar.commands.sources import run_sources_command

        run_sources_command(arguments)
    elif command == "tensorboard":
        from lit_cifar.commands.tensorboard import tensorboard

        tensorboard(arguments)
    else:
        raise UserError(f"There is no command {command!r}.{_suggestion(command)} lit-cifar --help lists the commands.")


def _suggestion(command: str) -> str:
    """The command that was probably meant, as a question; empty if there is none."""
    return did_you_mean(SYNONYMS.get(command, command), COMMANDS)


def _users_mistakes() -> tuple[type[Exception], ...]:
    """Exceptions of other modules whose message is enough; modules that nobody has imported raise none."""
    elsewhere = {"variants": "VariantError", "lightning.pytorch.utilities.exceptions": "MisconfigurationException"}
    return tuple(getattr(sys.modules[module], name) for module, name in elsewhere.items() if module in sys.modules)


def _in_one_line(error: OSError) -> str:
    line = f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
    return f"{line}. {MAKE_ROOM}" if error.errno in NO_ROOM else line


def _fail(message: str, exit_code: int = 1) -> int:
    print(f"lit-cifar: error: {message}", file=sys.stderr)
    return exit_code
