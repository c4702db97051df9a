"""The proxy beside its peers, interleaved in one run: CPU a request and a chunk, added latency, memory.

`make bench-setup` installs the peers and compiles the two C programs; `make bench-proxy` measures and renews the tables of
docs/benchmarks.md. While tuning: `make bench-proxy ARGS="--quick"`, which takes half a minute and writes no paper, or
`ARGS="--quick --only nginx,turnwise-kv-aware --scenario small64,next600k --rounds 5"`; `python -m bench.proxy report FILE` says
once more what a run measured.

`bodies` makes what is sent and `scenarios` says how; `install` fetches and compiles; `peers` tells how each target is started;
`processes` starts them and reads their CPU and memory; `measure` takes the samples and `results` holds them; `bars`, `report`
and `plot` say what they mean.
"""
