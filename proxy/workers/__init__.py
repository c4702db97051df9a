"""Several processes on one port: a supervisor, its workers, and the bus over which they tell one another of their calls.

`supervisor.run` has the contract of `app.run` and starts `server.workers` processes; each is `app.run` with a `Seat`, which
names its sockets. The fleet and the recorder know none of this: they tell a `Siblings`, None where there is one process.
docs/decisions/0004 says what is shared, how, and what is not. Import the modules: `fleet` needs `ports`, and they need `fleet`.
"""
