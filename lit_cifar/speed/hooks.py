"""Which of Lightning's hooks are overridden."""

from __future__ import annotations


def overrides(by: object, hook: str, base: type) -> bool:
    """Whether an object or its class has a hook of its own, instead of the base class's, which does nothing."""
    own = hook in vars(by) or getattr(type(by), hook) is not getattr(base, hook)
    return own and callable(getattr(by, hook))
