"""The `lit-cifar` command. Torch is imported only by the commands that need it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from io import TextIOWrapper

HELP = """\
usage: lit-cifar COMMAND [options]

What does a training technique really buy? Deep dense networks on CIFAR-10, one variant at a time.

commands:
  fit          train one variant:  lit-cifar fit --model.variant SELU --trainer.max_epochs 20
  validate     measure a checkpoint on the validation images
  test         measure a checkpoint on the test images:  lit-cifar test --ckpt_path best.ckpt
  predict      label pictures:  lit-cifar predict --ckpt_path best.ckpt --data.pictures my_pictures
  export       write a checkpoint to ONNX or torch.export:  lit-cifar export --ckpt_path best.ckpt --format onnx
  lr-find      search a learning rate:  lit-cifar lr-find --model.variant SELU --confirm 5
  compare      train several variants with several seeds and report what differs:  lit-cifar compare --quick
  judge        answer a study's questions anew, without training:  lit-cifar judge logs/compare/exercise8
  variants     list the variants; `variants check NAME` tests one, `variants new NAME` starts one of your own
  sources      list the sources of images; `sources check NAME` tests one
  tensorboard  open TensorBoard on logs/

options:
  --help       this page; `lit-cifar COMMAND --help` tells a command's options
  --version    the version
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code. Mistakes of the user are one line on stderr, without a traceback.

    Args:
        arguments: The command and its options. Default: those of the process, which is expected to end after this.
    """
    if arguments is not None:
        return _run(list(arguments))
    _write_any_character()
    code = _run(sys.argv[1:])
    _end_quietly()
    return code


def _run(arguments: Sequence[str]) -> int:
    command = arguments[0] if arguments else "--help"
    if command in ("--help", "-h", "help"):
        return _printed(HELP)
    if command == "--version":
        from lit_cifar import __version__

        return _printed(f"lit-cifar {__version__}\n")
    from lit_cifar.cli import run_command

    return run_command(command, arguments[1:])


def _write_any_character() -> None:
    """Escape what stdout's encoding doesn't have: a Windows terminal has no "✓", and file names may be any bytes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _printed(text: str) -> int:
    try:
        print(text, end="", flush=True)
    except OSError as error:
        print(f"lit-cifar: error: Nothing can be written: {error.strerror}.", file=sys.stderr)
        return 1
    return 0


def _end_quietly() -> None:
    """Keep Python from printing tracebacks while it ends, of another Ctrl-C or of what can't be written any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


if __name__ == "__main__":
    sys.exit(main())
