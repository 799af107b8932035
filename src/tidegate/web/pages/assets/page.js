// What a page cannot do by itself. Everything else works without this file.

const root = document.documentElement;
root.classList.add("scripted");

// --- fragments that change while somebody looks -----------------------------------------------------------------------

const RETRY_MS = 30_000;
const live = document.querySelector("[data-live]");
const pause = document.querySelector("[data-pause]");
const state = document.getElementById("live-state");
let source = null;

function say(words) {
  if (state) state.textContent = words;
}

// Replaces an element by a newer one of the same id. What has the focus, is open or is scrolled stays so.
function swap(id, html) {
  const old = document.getElementById(id);
  if (!old) return;
  const parsed = new DOMParser().parseFromString(html, "text/html");
  const fresh = parsed.getElementById(id);
  if (!fresh) return;
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  const place = focused && pathTo(old, focused);
  for (const open of old.querySelectorAll("details[open][id]")) {
    const twin = fresh.querySelector(`#${CSS.escape(open.id)}`);
    if (twin) twin.open = true;
  }
  const scrolled = [...old.querySelectorAll("[id].scroll")].map((part) => [part.id, part.scrollLeft, part.scrollTop]);
  const adopted = document.adoptNode(fresh);
  old.replaceWith(adopted);
  for (const [part, left, top] of scrolled) document.getElementById(part)?.scrollTo(left, top);
  if (focused) (focused.id ? document.getElementById(focused.id) : follow(adopted, place))?.focus({ preventScroll: true });
}

function pathTo(from, to) {
  const steps = [];
  for (let at = to; at !== from; at = at.parentElement) steps.unshift([...at.parentElement.children].indexOf(at));
  return steps;
}

function follow(from, steps) {
  return steps.reduce((at, step) => at?.children[step], from);
}

function connect() {
  if (!live || source) return;
  source = new EventSource(live.dataset.live);
  source.addEventListener("open", () => say("live"));
  source.addEventListener("swap", (event) => {
    const [id, ...lines] = event.data.split("\n");
    swap(id, lines.join("\n"));
  });
  source.addEventListener("ended", () => {
    disconnect();
    say("signed out: reload the page to sign in again");
  });
  source.addEventListener("error", () => {
    say("no connection, trying again");
    if (source && source.readyState === EventSource.CLOSED) {
      disconnect();
      setTimeout(() => isPaused() || connect(), RETRY_MS);
    }
  });
}

function disconnect() {
  source?.close();
  source = null;
}

function isPaused() {
  return pause?.getAttribute("aria-pressed") === "true";
}

pause?.addEventListener("click", () => {
  const paused = !isPaused();
  pause.setAttribute("aria-pressed", String(paused));
  if (paused) {
    disconnect();
    say("paused");
  } else {
    connect();
  }
});

// A page that nobody sees needs no stream, and a page from the browser's memory has none any more.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) disconnect();
  else if (!isPaused()) connect();
});
addEventListener("pagehide", disconnect);
addEventListener("pageshow", () => isPaused() || document.hidden || connect());

// --- times stay true --------------------------------------------------------------------------------------------------

const UNITS = [[86_400, "d"], [3_600, "h"], [60, "min"], [1, "s"]];

function distance(at) {
  const seconds = (Date.now() - at) / 1000;
  const size = Math.abs(seconds);
  if (size < 1) return "now";
  const [unit, name] = UNITS.find(([limit]) => size >= limit);
  const words = `${Math.round(size / unit)} ${name}`;
  return seconds > 0 ? `${words} ago` : `in ${words}`;
}

setInterval(() => {
  if (document.hidden) return;
  for (const time of document.querySelectorAll("time[datetime]")) {
    const words = distance(Date.parse(time.dateTime));
    if (time.textContent !== words) time.textContent = words;
  }
}, 15_000);

// --- forms and keys ---------------------------------------------------------------------------------------------------

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  if (form.dataset.sent) event.preventDefault(); // the second click of a double click
  form.dataset.sent = "yes";
  setTimeout(() => delete form.dataset.sent, 5000);
});

document.addEventListener("change", (event) => {
  const all = event.target.closest("[data-all]");
  if (!all) return;
  for (const box of all.form.querySelectorAll(`input[type="checkbox"][name^="${all.dataset.all}"]`)) box.checked = all.checked;
});

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    document.getElementById("find")?.focus();
  }
  if (event.key === "Escape") {
    const open = document.activeElement?.closest("details.act[open]");
    if (open) {
      open.open = false;
      open.querySelector("summary").focus();
    }
  }
});
