"""What was probably meant, at the end of a message about an unknown name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The nearest known name as a question after a space; empty if there is none.

    Args:
        name: What was typed.
        known: All names there are.
        cutoff: The least similarity, as for `nearest`.
    """
    meant = nearest(name, known, cutoff=cutoff)
    return f" Did you mean {meant}?" if meant else ""


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The known name that is spelt most like a name, ignoring case; empty if none is similar.

    Args:
        name: What was typed.
        known: All names there are.
        cutoff: The least similarity, from 0 to 1, as in `difflib.get_close_matches`.
    """
    by_lower_case = {each.lower(): each for each in known}
    found = get_close_matches(name.lower(), by_lower_case, n=1, cutoff=cutoff)
    return by_lower_case[found[0]] if found else ""
