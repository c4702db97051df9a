// One program: what it took, what that went to, its calls and tools in time, its prompts and who holds them.

import { Blocks } from "./blocks.js";
import { CAUSES, colour, explains, label } from "./causes.js";
import { h, say } from "./dom.js";
import { asked, Refused } from "./polling.js";
import { stateOf } from "./programs.js";
import { Waterfall } from "./waterfall.js";
import { age, plural, share, span, title, tokens, whole } from "./words.js";

const TABS = { timeline: "Timeline", prompts: "Prompts and KV", calls: "Calls" };

const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

const KNOWN_BY = {
  named: "named by its client",
  baggage: "named in the client's baggage",
  root_turn: "named by its root turn",
  lineage: "known by lineage",
  trace: "known by the client's trace",
  session: "known by the client's session",
  new: "its client sent no id",
};

const EXPECTED = {
  measured: "As the tools gateway expects, or measured for runs of this tool before",
  inferred: "By the gaps between calls in which this tool ran before",
};

/** How far the run of a tool call has come. */
const standing = ({ step, how, claimed_at: claimed }) =>
  step === "finished" && how !== "asked" && claimed === null
    ? "its result is held for the agent"
    : [step, how === "asked" ? "" : how].filter(Boolean).join(", ");

export class ProgramView {
  constructor(id) {
    this.id = id;
    this.crumb = h("span", { class: "cut", "aria-current": "page" }, id);
    this.name = h("h1", { class: "cut" }, id);
    this.state = h("span", { class: "state" });
    this.facts = h("p", { class: "faint" });
    this.tiles = h("div", { class: "tiles" });
    this.ledger = h("div", { class: "ledger" });
    this.waits = h("ul", { class: "waits", "aria-label": "Tool calls without a result yet" });
    this.waterfall = new Waterfall();
    this.blocks = new Blocks();
    this.calls = h("div", { class: "sheet" });
    this.panels = { timeline: this.waterfall.element, prompts: this.blocks.element, calls: this.calls };
    this.tabs = Object.entries(TABS).map(([name, text]) =>
      h(
        "button",
        {
          type: "button",
          role: "tab",
          id: `tab-${name}`,
          "aria-controls": `panel-${name}`,
          on: { click: () => this.#open(name), keydown: (event) => this.#step(event) },
        },
        text,
      ),
    );
    const panels = Object.entries(this.panels).map(([name, element]) =>
      h("div", { role: "tabpanel", id: `panel-${name}`, "aria-labelledby": `tab-${name}` }, element),
    );
    this.body = h(
      "div",
      { hidden: true },
      this.tiles,
      this.ledger,
      this.waits,
      h("div", { class: "tabs", role: "tablist" }, this.tabs),
      panels,
    );
    this.empty = h("p", { class: "empty" }, "Loading…");
    this.element = h(
      "div",
      { class: "program" },
      h("div", { class: "heading" }, this.name, this.state),
      this.facts,
      this.body,
      this.empty,
    );
    this.#open("timeline");
  }

  async refresh(signal) {
    try {
      this.#show(await asked(`programs/${encodeURIComponent(this.id)}`, signal));
    } catch (error) {
      if (!(error instanceof Refused) || error.status !== 404) throw error;
      this.body.hidden = true;
      this.empty.hidden = false;
      this.empty.replaceChildren(
        h("strong", {}, "This program is not known (any more)."),
        h("br"),
        "The proxy remembers live programs and the last that ended. ",
        h("a", { href: "#/" }, "All programs"),
      );
    }
  }

  #show(found) {
    const { program, ledger } = found;
    const state = stateOf(program);
    this.body.hidden = false;
    this.empty.hidden = true;
    say(this.name, title(program));
    say(this.crumb, title(program));
    say(this.state, state.word);
    this.state.dataset.kind = state.kind;
    this.state.title = state.explains;
    document.title = `${title(program)} · Turnwise`;
    const facts = [
      program.model,
      program.session && `session ${program.session}`,
      KNOWN_BY[program.basis],
      `began ${DAY.format(1000 * program.started_at)}, ${age(program.age_s)} ago`,
      `id ${program.id}`,
      `trace ${program.trace_id}`,
    ];
    say(this.facts, facts.filter(Boolean).join("  ·  "));
    this.#tile(program, ledger);
    this.#account(found);
    this.#wait(found);
    this.waterfall.show(found);
    this.blocks.show(found);
    this.#list(found.calls);
  }

  #tile(program, ledger) {
    const tile = (name, value, explanation, kind) =>
      h("div", { class: `tile ${kind ?? ""}`, title: explanation }, h("span", {}, name), h("b", {}, value));
    this.tiles.replaceChildren(
      tile("Makespan", span(ledger.makespan_s), "From the first call's arrival to the end of the last"),
      tile(
        "FTR",
        span(ledger.ftr_s),
        "First token rendered: from the first call's arrival to the first visible token of the final answer",
        "ftr",
      ),
      tile("Calls", whole(program.calls), program.running ? `and ${program.running} running` : "that have ended"),
      tile(
        "Tool calls",
        whole(program.tools),
        program.waiting ? `and ${program.waiting} without a result yet` : "that its answers asked for",
      ),
      tile("Agents", whole(program.agents), "Conversations: the first, its sub-agents and side calls"),
      tile("Prompt tokens", tokens(program.prompt_tokens), `${whole(program.prompt_tokens)} tokens`),
      tile(
        "From cache",
        share(program.cached_tokens, program.reported_prompt_tokens),
        `${whole(program.cached_tokens)} of the ${whole(program.reported_prompt_tokens)} prompt tokens of which engines say`,
      ),
      tile("Generated", tokens(program.completion_tokens), `${whole(program.completion_tokens)} tokens`),
    );
  }

  /** Where the time of the critical path went: one bar, and a legend in figures. */
  #account({ ledger }) {
    const all = ledger.makespan_s;
    const told = Object.keys(CAUSES).map((cause) => ({
      cause,
      critical_s: ledger.causes[cause] ?? 0,
      total_s: ledger.totals[cause] ?? 0,
    }));
    const on = told.filter(({ critical_s }) => critical_s > 0);
    const about = ({ cause, critical_s, total_s }) =>
      `${label(cause)}: ${explains(cause)}.\nOn the critical path ${span(critical_s)}, in all ${span(total_s)}`;
    this.ledger.hidden = all <= 0;
    this.ledger.replaceChildren(
      h(
        "div",
        { class: "heading" },
        h("h2", {}, "Where the time went"),
        h("span", { class: "count" }, `critical path, ${span(all)}`),
      ),
      h(
        "div",
        {
          class: "stack",
          role: "img",
          "aria-label": on.map(({ cause, critical_s }) => `${label(cause)} ${share(critical_s, all)}`).join(", "),
        },
        on.map((said) =>
          h("i", { title: about(said), style: { width: `${(100 * said.critical_s) / all}%`, background: colour(said.cause) } }),
        ),
      ),
      h(
        "ul",
        { class: "legend" },
        told
          .filter(({ critical_s, total_s }) => critical_s > 0 || total_s > 0)
          .map((said) =>
            h(
              "li",
              { title: about(said) },
              h("i", { style: { background: colour(said.cause) } }),
              label(said.cause),
              h("b", {}, span(said.critical_s)),
              h("span", {}, share(said.critical_s, all)),
            ),
          ),
      ),
    );
  }

  /** The tool calls whose results have not come: how far each is, and how long yet. */
  #wait({ ledger, waiting }) {
    this.waits.hidden = waiting.length === 0;
    this.waits.replaceChildren(
      ...waiting.map((wait) =>
        h(
          "li",
          {},
          "Waiting for ",
          h("b", {}, wait.tool),
          `: ${[span(Math.max(0, ledger.makespan_s - wait.since)), standing(wait)].filter(Boolean).join(", ")}`,
          wait.remaining_s !== null &&
            h("span", { title: EXPECTED[wait.source] }, `, about ${span(wait.remaining_s)} left`),
        ),
      ),
    );
  }

  #list(calls) {
    const headings = [
      "#",
      "Agent",
      "Model",
      "Replica",
      "Prompt",
      "From cache",
      "Predicted",
      "Generated",
      "First token",
      "Whole call",
      "Ended with",
    ];
    const since = (call, moment) => (call.times[moment] === null ? "–" : span(call.times[moment] - call.times.arrived));
    const rows = calls.map((call, number) =>
      h(
        "tr",
        {},
        [
          number + 1,
          `${call.agent}${call.agent_name ? ` ${call.agent_name}` : ""}`,
          call.model ?? "–",
          call.replica ?? "none",
          tokens(call.prompt_tokens),
          call.cached_tokens === null ? "–" : share(call.cached_tokens, call.prompt_tokens),
          share(call.predicted_tokens, call.prompt_tokens),
          call.completion_tokens === null ? "–" : whole(call.completion_tokens),
          since(call, "first_token"),
          since(call, "ended"),
          call.reason || call.finish_reason || (call.status ?? "–"),
        ].map((text, place) =>
          h("td", { class: place > 3 && place < 10 ? "number" : "", title: place === 0 ? call.call_id : null }, String(text)),
        ),
      ),
    );
    this.calls.replaceChildren(
      calls.length === 0
        ? h("p", { class: "empty" }, "No call of it has ended yet.")
        : h(
            "table",
            { class: "calls" },
            h("caption", { class: "unseen" }, plural(calls.length, "call")),
            h(
              "thead",
              {},
              h(
                "tr",
                {},
                headings.map((text, place) => h("th", { scope: "col", class: place > 3 && place < 10 ? "number" : "" }, text)),
              ),
            ),
            h("tbody", {}, rows),
          ),
    );
  }

  #open(name) {
    Object.keys(TABS).forEach((known, number) => {
      this.tabs[number].setAttribute("aria-selected", String(known === name));
      this.tabs[number].tabIndex = known === name ? 0 : -1;
      this.panels[known].parentElement.hidden = known !== name;
    });
  }

  #step(event) {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    const next = this.tabs[(this.tabs.indexOf(event.currentTarget) + by + this.tabs.length) % this.tabs.length];
    next.click();
    next.focus();
  }
}
