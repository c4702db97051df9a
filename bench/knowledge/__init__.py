"""What it costs to know what every replica holds, and how right it is. `make bench-knowledge` runs it.

Each row is a module with a function that gives its figures and its bar (`rows.Row`); `rows.ROWS` lists them.
"""
