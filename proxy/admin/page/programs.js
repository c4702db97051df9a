// The programs: live ones first as they were used, then those that have ended.

import { h, keep, say } from "./dom.js";
import { age, plural, share, title, tokens, whole } from "./words.js";

const STATES = ["all", "live", "ended"];
const ENDS = {
  asked: ["ended", "its end was asked for"],
  answered: ["answered", "it gave its final answer"],
  age: ["timed out", "nothing came of it for too long"],
  evicted: ["evicted", "it made room for others"],
  shutdown: ["cut off", "the proxy stopped"],
};

/** The state of a program: what it is called, its kind for the style, and what it means. */
export function stateOf(program) {
  if (program.outcome !== "open") {
    const [word, explains] = ENDS[program.outcome] ?? [program.outcome, ""];
    return { kind: program.outcome === "answered" || program.outcome === "asked" ? "done" : "cut", word, explains };
  }
  if (program.running)
    return { kind: "running", word: "running", explains: `${plural(program.running, "call")} at the engines` };
  if (program.waiting)
    return { kind: "tools", word: "in tools", explains: `${plural(program.waiting, "tool call")} without a result yet` };
  return { kind: "quiet", word: "quiet", explains: "nothing runs that the proxy knows of" };
}

export class Programs {
  constructor() {
    this.state = "all";
    this.text = "";
    this.programs = [];
    this.count = h("span", { class: "count" });
    this.search = h("input", {
      type: "search",
      placeholder: "Find by name, session or id",
      "aria-label": "Find programs",
      spellcheck: "false",
      on: { input: () => this.#find() },
    });
    this.choices = STATES.map((state) =>
      h(
        "button",
        { type: "button", "aria-pressed": String(state === this.state), on: { click: () => this.#choose(state) } },
        state,
      ),
    );
    this.rows = h("tbody");
    const headings = [
      ["State"],
      ["Program", "wide"],
      ["Agents", "number"],
      ["Calls", "number"],
      ["Tool calls", "number"],
      ["Prompt tokens", "number"],
      ["From cache", "share"],
      ["Age", "number"],
      ["Quiet for", "number"],
    ];
    this.table = h(
      "table",
      { class: "programs" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          headings.map(([text, kind]) => h("th", { scope: "col", class: kind }, text)),
        ),
      ),
      this.rows,
    );
    this.empty = h("p", { class: "empty" });
    this.element = h(
      "section",
      { "aria-label": "Programs" },
      h(
        "div",
        { class: "heading" },
        h("h2", {}, "Programs"),
        this.count,
        h("span", { class: "spring" }),
        this.search,
        h("div", { class: "choice", role: "group", "aria-label": "Which programs" }, this.choices),
      ),
      h("div", { class: "sheet" }, this.table, this.empty),
    );
  }

  show(programs) {
    this.programs = programs;
    this.#draw();
  }

  #choose(state) {
    this.state = state;
    for (const choice of this.choices) choice.setAttribute("aria-pressed", String(choice.textContent === state));
    this.#draw();
  }

  #find() {
    this.text = this.search.value.trim().toLowerCase();
    this.#draw();
  }

  #draw() {
    const found = this.programs.filter((program) => this.#fits(program));
    const live = this.programs.filter((program) => program.outcome === "open").length;
    say(this.count, this.programs.length ? `${live} live, ${this.programs.length - live} ended` : "");
    this.table.hidden = found.length === 0;
    this.empty.hidden = found.length > 0;
    if (found.length === 0)
      this.empty.replaceChildren(...(this.programs.length ? ["No program fits what you look for."] : INVITATION()));
    keep(this.rows, found, (program) => program.id, made, update);
  }

  #fits(program) {
    if (this.state !== "all" && (this.state === "live") !== (program.outcome === "open")) return false;
    return [program.id, program.name, program.session, program.model].some((text) =>
      (text ?? "").toLowerCase().includes(this.text),
    );
  }
}

const INVITATION = () => [
  h("strong", {}, "No program yet."),
  h("br"),
  "Point an agent's ",
  h("code", {}, "base_url"),
  " at the proxy: its calls appear here as one program, whether it sends an id or not.",
];

function made(program) {
  const cell = (part, kind) => h("td", { class: kind, "data-part": part });
  return h(
    "tr",
    {},
    h("td", {}, h("span", { class: "state", "data-part": "state" })),
    h(
      "td",
      { class: "wide" },
      h("a", { class: "open", "data-part": "title", href: `#/program/${encodeURIComponent(program.id)}` }),
      h("span", { class: "under", "data-part": "under" }),
    ),
    cell("agents", "number"),
    cell("calls", "number"),
    cell("tools", "number"),
    cell("tokens", "number"),
    h(
      "td",
      { class: "share" },
      h("span", { class: "hits" }, h("i", { "data-part": "bar" })),
      h("span", { "data-part": "hits" }),
    ),
    cell("age", "number"),
    cell("quiet", "number"),
  );
}

function update(row, program) {
  const part = (name) => row.querySelector(`[data-part="${name}"]`);
  const state = stateOf(program);
  part("state").dataset.kind = state.kind;
  part("state").title = state.explains;
  say(part("state"), state.word);
  say(part("title"), title(program));
  const under = [
    program.model,
    program.name && program.session ? `session ${program.session}` : "",
    program.name || program.session ? program.id : "",
  ];
  say(part("under"), under.filter(Boolean).join(" · "));
  say(part("agents"), whole(program.agents));
  say(part("calls"), program.running ? `${whole(program.calls)} + ${program.running} running` : whole(program.calls));
  say(part("tools"), program.waiting ? `${whole(program.tools)} + ${program.waiting} waiting` : whole(program.tools));
  say(part("tokens"), tokens(program.prompt_tokens));
  const hits = program.reported_prompt_tokens ? program.cached_tokens / program.reported_prompt_tokens : 0;
  part("bar").style.setProperty("width", `${100 * Math.min(1, hits)}%`);
  say(part("hits"), share(program.cached_tokens, program.reported_prompt_tokens));
  say(part("age"), age(program.age_s));
  say(part("quiet"), age(program.quiet_s));
}
