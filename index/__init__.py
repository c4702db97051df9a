"""What the proxy knows about KV: which replica holds which blocks of which prompt, and how sure that is.

Pure: no clock, no randomness, no I/O; `now` arrives as an argument. See docs/architecture.md, section "What is known about KV".

`KvIndex` is the face. Behind it, `chains` gives prompts digests; `holdings` lets one replica's events into the `mask_index` of
its hash domain (`domains`); `lessons` and `evidence` learn from stamped events which engine blocks a digest stands for;
`predicted` remembers in radix `runs` (`run_tree`, by `recency`) what was sent where, as far as the `capacity` that `losses`
teach reaches, while no event says better; `estimate` guesses lengths nobody has counted; `asked` groups the replicas of a
question by domain, and `hits` says what each holds of its prompt, slower media included. `calls` follows each call from its
booking to what its engine found, `waiting` knows those that an engine has yet to look at, and the `closed_loop` weighs each
source by how right it was.
"""

from __future__ import annotations

from turnwise.index.chains import prompt_chain
from turnwise.index.closed_loop import Finding, SourceStats
from turnwise.index.estimate import BytesPerToken
from turnwise.index.kv_index import KvIndex
from turnwise.index.values import AnswerFate, AnswerKind, DomainKey, IndexStats, Lesson, ReplicaStats, Report

__all__ = [
    "AnswerFate",
    "AnswerKind",
    "BytesPerToken",
    "DomainKey",
    "Finding",
    "IndexStats",
    "KvIndex",
    "Lesson",
    "ReplicaStats",
    "Report",
    "SourceStats",
    "prompt_chain",
]
