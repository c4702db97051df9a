"""What every admin port has in common, of the proxy, its supervisor and the tools gateway.

`guard` is what each request meets first, `answers` how JSON and errors look, `families` and `buckets` make metrics out of plain
numbers, `exposition` writes them as Prometheus reads them. `asking`, `words`, `listing` and `showing` are for the commands
that ask such a port.
"""
