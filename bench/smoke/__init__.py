"""Counted work of the whole product, against a baseline: what a request costs in calls, allocations and copies, never in time.

`make bench-smoke` plays each scene in a process of its own, with real sockets, and fails where a counter stands above twice the
figure of `baseline.json`. Counts repeat within a few in a hundred on any machine, so one run tells; `make bench-proxy` times.
After a change that is meant to cost more, or has come to cost much less: `python -m bench.smoke --update`, and commit the file.
`python -m bench.smoke --functions chat` names the functions that a scene calls, most called first.

`counter.c` stands in front of the C library and `library` compiles it; `count` counts; `wire` holds the client and the replica,
`scenes` what they say to each other, `telling` a tool call and who is told of it; `measure` runs one scene and `compare`
judges.
"""
