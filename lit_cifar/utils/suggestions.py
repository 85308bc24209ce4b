"""What was probably meant, at the end of a message about an unknown name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The known name that is spelt most like a name, as a question after a space; empty if there is none like it.

    Args:
        name: What was typed.
        known: All names there are.
        cutoff: The least similarity, from 0 to 1, as in `difflib.get_close_matches`.
    """
    nearest = get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f" Did you mean {nearest[0]}?" if nearest else ""
