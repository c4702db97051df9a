// Asking the admin port again and again, while somebody looks.

const EVERY_MS = 1500;
const SLOWEST_MS = 15_000;
const PATIENCE_MS = 8000;

/** The admin port said no: `status` and what it said. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Nobody answered, or not as an admin port does. */
export class Lost extends Error {}

export async function asked(path, signal) {
  let answer;
  let body;
  try {
    answer = await fetch(path, { signal: AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]), cache: "no-store" });
    body = await answer.json();
  } catch (error) {
    throw new Lost(error.message);
  }
  if (!answer.ok) throw new Refused(answer.status, body?.error?.message ?? `HTTP ${answer.status}`);
  return body;
}

/** An answer that took long is asked for again after this many times as long: looking must not load the proxy. */
const SHARE = 10;

/** Calls `ask` again and again and tells `heard` what came of it; rests while the page is hidden or paused. */
export class Polling {
  constructor(heard) {
    this.heard = heard;
    this.ask = null;
    this.isPaused = false;
    this.failures = 0;
    this.timer = 0;
    document.addEventListener("visibilitychange", () => this.#next(0));
  }

  /** From now on ask this: an async function of an abort signal. */
  watch(ask) {
    this.ask = ask;
    this.failures = 0;
    this.#next(0);
  }

  pause(isPaused) {
    this.isPaused = isPaused;
    this.#next(0);
  }

  /** Ask now, whatever was waited for. */
  again() {
    this.#next(0);
  }

  #next(delay) {
    clearTimeout(this.timer);
    this.running?.abort();
    if (!this.ask || this.isPaused || document.hidden) return;
    this.timer = setTimeout(() => this.#once(), delay);
  }

  async #once() {
    const running = (this.running = new AbortController());
    const began = performance.now();
    let error = null;
    try {
      await this.ask(running.signal);
    } catch (caught) {
      error = caught;
    }
    if (running.signal.aborted) return;
    this.failures = error === null ? 0 : this.failures + 1;
    this.heard(error);
    const wait = Math.max(EVERY_MS * 2 ** Math.min(this.failures, 4), SHARE * (performance.now() - began));
    this.#next(Math.min(wait, SLOWEST_MS));
  }
}
