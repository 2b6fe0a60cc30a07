"""The table printed by a run, as plain text of at most 120 columns."""

from collections.abc import Iterator
from textwrap import wrap

from bench.setting import Bench, Line

WIDTH = 120


def heading(bench: Bench) -> str:
    """The head: the measured machine, and the titles of the columns."""
    options = bench.options
    return (
        f"{options.world.grants:,} grants ({options.world.schools:,} schools x {options.world.connections} "
        f"connections), half of the answers permits; {options.turns} turns of {options.seconds:g} s, medians\n"
        f"{'row':>3}  {'what':<50}{'this':>16}{'reference':>16}{'ratio':>9}  aim"
    )


def shown(line: Line) -> str:
    """One line of the table."""
    value = "" if line.value is None else f"{line.value:,.0f}" if line.value >= 1000 else f"{line.value:.2f}"
    verdict = ""
    if line.aim is not None:
        met = line.value is not None and line.aim.is_met_by(line.value)
        verdict = f"{line.aim!s:<8}{'met' if met else 'not met'}"
    return f"{line.row:>3}  {line.what:<50}{line.own:>16}{line.reference:>16}{value:>9}  {verdict}".rstrip()


def notes(bench: Bench) -> Iterator[str]:
    """The notes below the table."""
    for note in bench.notes:
        yield from wrap(note, WIDTH, initial_indent="  * ", subsequent_indent="    ")
