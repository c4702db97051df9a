// Figures as people read them.

const WHOLE = new Intl.NumberFormat("en");

export const whole = (number) => WHOLE.format(Math.round(number));

/** Seconds: 3.2 ms, 214 ms, 1.92 s, 4 min 10 s. */
export function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const ms = seconds * 1000;
  if (ms < 0.05) return "0 ms";
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (seconds < 10) return `${seconds.toFixed(2)} s`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  return age(seconds);
}

/** How long something has been: 4 s, 12 min, 3 h 5 min. */
export function age(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Tokens, short: 812, 14.2k, 3.1M. */
export function tokens(number) {
  if (number < 1000) return whole(number);
  return number < 999_950 ? `${(number / 1000).toFixed(number < 99_950 ? 1 : 0)}k` : `${(number / 1e6).toFixed(1)}M`;
}

export const share = (part, all) => (all > 0 ? `${((100 * part) / all).toFixed(part > 0 && part / all < 0.1 ? 1 : 0)}%` : "–");

export const plural = (number, noun) => `${whole(number)} ${noun}${number === 1 ? "" : "s"}`;

/** What a program is called, where something calls it: the client's name, or its id. */
export const title = (program) => program.name || program.session || program.id;
