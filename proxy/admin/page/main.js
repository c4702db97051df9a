// The page: which view is open, whether the proxy answers, light or dark.

import { h, say } from "./dom.js";
import { Overview } from "./overview.js";
import { Lost, Polling, Refused } from "./polling.js";
import { ProgramView } from "./program.js";

const view = document.getElementById("view");
const crumbs = document.getElementById("crumbs");
const pulse = document.getElementById("pulse");
const trouble = document.getElementById("trouble");
const pause = document.getElementById("pause");
const theme = document.getElementById("theme");
const THEMES = ["auto", "light", "dark"];

const polling = new Polling((error) => {
  const isLost = error instanceof Lost;
  view.classList.toggle("is-lost", isLost);
  trouble.hidden = error === null;
  state(isLost ? "lost" : "live", isLost ? "no answer" : "live");
  if (isLost) {
    trouble.replaceChildren(
      h("strong", {}, "The proxy does not answer."),
      " What is shown is from before. Is turnwise serve still running? It is asked again by itself.",
    );
  } else if (error instanceof Refused) {
    trouble.replaceChildren(h("strong", {}, `The proxy refused (${error.status}). `), error.message);
  } else if (error !== null) {
    trouble.replaceChildren(
      h("strong", {}, "This page cannot show what the proxy says. "),
      `Is it of another version? Reload it. (${error.message})`,
    );
  }
});

function state(name, text) {
  pulse.dataset.state = name;
  say(pulse, text);
}

/** Open what the address names: the overview, or a program. */
function open() {
  const [, what, id] = location.hash.split("/");
  const isProgram = what === "program" && Boolean(id);
  const shown = isProgram ? new ProgramView(decodeURIComponent(id)) : new Overview();
  view.replaceChildren(shown.element);
  crumbs.replaceChildren(
    ...(isProgram ? [h("a", { href: "#/" }, "Programs"), h("span", { "aria-hidden": true }, "/"), shown.crumb] : []),
  );
  document.title = isProgram ? "Program · Turnwise" : "Turnwise";
  trouble.hidden = true;
  polling.watch((signal) => shown.refresh(signal));
}

pause.addEventListener("click", () => {
  const isPaused = pause.getAttribute("aria-pressed") !== "true";
  pause.setAttribute("aria-pressed", String(isPaused));
  say(pause, isPaused ? "Resume" : "Pause");
  if (isPaused) state("paused", "paused");
  polling.pause(isPaused);
});

function dress(name) {
  document.documentElement.dataset.theme = name;
  say(theme, { auto: "Theme: auto", light: "Theme: light", dark: "Theme: dark" }[name]);
}

theme.addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
  localStorage.setItem("theme", next);
  dress(next);
});

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the fragment is the address of a view
  view.focus();
});

const remembered = localStorage.getItem("theme");
dress(THEMES.includes(remembered) ? remembered : "auto");
addEventListener("hashchange", open);
open();
