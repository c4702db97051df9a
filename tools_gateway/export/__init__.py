"""What the gateway tells of itself: metrics, and the page of tools.

`meter` counts what happens, `gauges` reads how things are when somebody looks, `page` is what `/tools` answers, made by `rows`;
`sources` is where these look. `run_times` keeps on disk what was learned of run times.
"""
