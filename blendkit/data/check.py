"""The one way to refuse what comes from outside."""


def require(condition, sentence: str) -> None:
    """Raise a ValueError with `sentence` (what was given, what is expected, what to do) unless `condition` holds."""
    if not condition:
        raise ValueError(sentence)
