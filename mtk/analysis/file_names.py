"""Names of files and folders: made from what they hold, never taken from it."""

import re

_LONGEST = 100


class FileNames:
    """Makes names, each once, also where a file system takes `A` for `a`.

    Args:
        allowed: Characters beside ASCII's letters and digits; all others become `_`.
    """

    def __init__(self, allowed: str = ""):
        self._others = re.compile(rf"[^A-Za-z0-9{re.escape(allowed)}]+")
        self._used: set[str] = set()

    def make(self, text: str) -> str:
        """Returns a name for what a text describes: at most 100 characters, and a number if needed.

        Args:
            text: Any text.
        """
        base = self._others.sub("_", text)[:_LONGEST].strip("_.") or "unnamed"
        name, number = base, 2
        while name.lower() in self._used:
            name, number = f"{base}_{number}", number + 1
        self._used.add(name.lower())
        return name
