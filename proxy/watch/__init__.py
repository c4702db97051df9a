"""`turnwise programs` and `turnwise program ID`: what a running proxy knows of programs, in the terminal.

`asking` talks to the admin port, `programs` draws the list, `waterfall` the time of one, `report` what stands around it.
"""

from turnwise.proxy.watch.program import DESCRIPTION as PROGRAM_DESCRIPTION
from turnwise.proxy.watch.program import add_arguments as add_program_arguments
from turnwise.proxy.watch.program import run as run_program
from turnwise.proxy.watch.programs import DESCRIPTION as PROGRAMS_DESCRIPTION
from turnwise.proxy.watch.programs import add_arguments as add_programs_arguments
from turnwise.proxy.watch.programs import run as run_programs

__all__ = [
    "PROGRAMS_DESCRIPTION",
    "PROGRAM_DESCRIPTION",
    "add_program_arguments",
    "add_programs_arguments",
    "run_program",
    "run_programs",
]
