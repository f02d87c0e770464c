"""What commands and flags were called before; each old name works in this release, with a note."""

from collections.abc import Sequence

OLD_COMMANDS = {"score": "route-archive", "calibrate": "measure"}
OLD_FLAGS = {
    "measure": {
        "--until-interval": "--until-half-width",
        "--timeout": "--timeout-seconds",
        "--backoff": "--backoff-seconds",
    },
    "pool": {"--llm": "--llm-in-file"},
}
"""By command."""


def with_new_spellings(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """A command line as it is written today, and a note for each old name in it.

    Example:
        >>> with_new_spellings(["score", "--router", "r"])[0]
        ['route-archive', '--router', 'r']
    """
    if not words:
        return [], []
    command = OLD_COMMANDS.get(words[0], words[0])
    renamed = OLD_FLAGS.get(command, {}) | ({words[0]: command} if command != words[0] else {})
    found: dict[str, str] = {}
    new: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        if name in renamed and (name.startswith("--") or not new):
            found[name] = renamed[name]
            name = renamed[name]
        new.append(name + equals + value)
    return new, [f"{old} is now {now}; the old name works in this release only." for old, now in found.items()]
