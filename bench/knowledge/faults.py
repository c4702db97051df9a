"""Rows of what embedded engines do to knowledge: feeds that lose, templates that break prefixes, engines that were warm."""

from __future__ import annotations

from typing import get_args

from bench.knowledge import lossy, templates, warm
from bench.knowledge.row import Row

from turnwise.engines.sim.template import TemplateStyle

STYLES: tuple[TemplateStyle, ...] = get_args(TemplateStyle)


def measure_lossy(seed: int, num_runs: int = 20) -> Row:
    """The index against the engines' blocks, over feeds that drop and delay a tenth of their batches each."""
    runs = [lossy.measure(lossy.LossyPlan(seed=seed * 1000 + run, ends_heard=False)) for run in range(num_runs)]
    num_wrong = sum(run.num_missing + run.num_surplus for run in runs)
    num_wrong_depths = sum(run.num_wrong_depths for run in runs)
    num_blocks = sum(run.num_blocks for run in runs)
    return Row(
        name="lossy",
        title="blocks believed otherwise than held, 10% of batches dropped, 10% overtaken",
        bar="0 once all is quiet",
        measured=f"{num_wrong} of {num_blocks:,}",
        holds=num_wrong == num_wrong_depths == 0,
        figures={
            "batches": sum(run.num_batches for run in runs),
            "blocks evicted": sum(run.num_removed for run in runs),
            "taught prompts looked up": sum(run.num_prompts for run in runs),
            "wrong depths": num_wrong_depths,
        },
        how=(
            f"{num_runs} runs of 12 conversations of 5 turns at once over 2 embedded engines of 80 blocks, on a virtual clock."
        ),
    )


def measure_templates(seed: int) -> Row:
    """Beliefs by the engines' word that were wrong twice for one prefix, over all templates."""
    runs = {style: templates.measure(templates.TemplatePlan(style=style, seed=seed)) for style in STYLES}
    num_wrong_again = sum(run.num_wrong_again for run in runs.values())
    num_confirmed = sum(run.num_confirmed for run in runs.values())
    errors = {f"{style} error %": 100 * run.error_tokens / run.prompt_tokens for style, run in runs.items()}
    return Row(
        name="templates",
        title="beliefs about one prefix that were wrong twice, over templates that break prefixes",
        bar="0",
        measured=f"{num_wrong_again} of {num_confirmed:,}",
        holds=num_wrong_again == 0,
        figures={
            "calls": sum(run.num_calls for run in runs.values()),
            "by the engines' word": num_confirmed,
            "wrong": sum(run.num_wrong for run in runs.values()),
            **errors,
        },
        how=(
            "24 conversations of 6 turns under each of 7 templates, half of them forked at every turn, over 2 embedded engines "
            "that evict nothing, on a virtual clock. Errors are absolute, over prompt tokens, predictions included."
        ),
    )


def measure_warm(seed: int) -> Row:
    """Turns of a conversation until a proxy without replay knows the prompts of warm engines."""
    figures = warm.measure(warm.WarmPlan(seed=seed))
    known = [turn.num_known / turn.num_calls for turn in figures.turns]
    until = next((turn for turn, share in enumerate(known, start=1) if share == 1.0), 0)
    return Row(
        name="warm",
        title="turns until a proxy that starts before warm engines without replay knows every prompt",
        bar="at most 2",
        measured=str(until) if until else "never",
        holds=0 < until <= 2 and figures.num_surplus == 0,
        figures={
            "missing heads": figures.num_missing_heads,
            "full reports asked": sum(turn.num_full_reports for turn in figures.turns),
            "blocks falsely believed": figures.num_surplus,
            **{f"known after turn {turn} %": 100 * share for turn, share in enumerate(known, start=1)},
        },
        how="12 conversations over 2 embedded engines; another proxy served their first 2 turns. Virtual clock.",
    )
