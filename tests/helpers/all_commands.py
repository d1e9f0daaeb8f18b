"""The words of all commands of the command line."""

import typer
from typer.core import TyperGroup

from tfgmm.cli.app import app


def all_commands(groups: bool = False) -> list[str]:
    """Return what follows `tfgmm` in every command, as `import jma`, on request with the groups as well."""

    def below(group: TyperGroup, *names: str) -> list[str]:
        words = [" ".join(names)] if groups else []
        for name, command in group.commands.items():
            inside = isinstance(command, TyperGroup)
            words += below(command, *names, name) if inside else [" ".join((*names, name))]
        return words

    return below(typer.main.get_command(app))
