"""What it costs to know programs: on the data path, beside it, in memory, and while nobody takes the traces.

`make bench-programs` runs it. Each row is a function that gives its figures and its bar; `rows.ROWS` lists them.
"""
