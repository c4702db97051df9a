// The causes that a program's time goes to, in the order in which they are told; `--cause-NAME` in base.css is the colour of each.

export const CAUSES = {
  client: ["Client", "nothing was asked for: the client computed, or its user thought"],
  ingest: ["Ingest", "the request's body came in and was read"],
  queue: ["Queue", "the call waited to be admitted"],
  route: ["Route", "a replica was chosen"],
  connect: ["Connect", "the request went out, attempts that failed before included"],
  prefill: ["Prefill", "the replica had the request, and no token had come"],
  decode: ["Decode", "tokens came"],
  tail: ["Tail", "after the last byte, until the call was over"],
  tool_queue: ["Tool queue", "a tool run waited for its turn at the gateway"],
  tool_run: ["Tool run", "a tool ran, or the client held a tool call whose result had not come"],
  join_wait: ["Join wait", "a sub-agent had answered, and the call that brings its answer had not come"],
  unattributed: ["Unattributed", "nobody can say"],
};

export const label = (cause) => CAUSES[cause]?.[0] ?? cause;
export const explains = (cause) => CAUSES[cause]?.[1] ?? "";
export const colour = (cause) => `var(--cause-${cause in CAUSES ? cause : "unattributed"})`;
