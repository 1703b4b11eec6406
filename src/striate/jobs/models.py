"""The zoo as a table."""

from striate.errors import UsageError
from striate.zoo import ZOO, Entry, list_models


def find_models(pattern: str) -> list[Entry]:
    """Return the zoo's entries whose names match a shell pattern, in order of name.

    Raises:
        UsageError: where none does.
    """
    names = list_models(pattern)
    if not names:
        raise UsageError(
            expected="a pattern that some network matches", received=repr(pattern), remedy=f"Known: {', '.join(ZOO)}."
        )
    return [ZOO[name] for name in names]
