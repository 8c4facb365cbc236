// What pages do by themselves: keep up to date, follow lines, say times in the reader's zone, draw durations.
// Without this script every page still shows everything; it is then as new as its last reload.
"use strict";

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

// --- theme: the system's, or the reader's choice ---------------------------------------------------------------

const theme = (() => {
  let chosen = null;
  try { chosen = localStorage.getItem("holter-theme"); } catch { /* storage is off */ }
  const show = () => {
    if (chosen) document.documentElement.dataset.theme = chosen;
    const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    const button = $("#theme");
    button.hidden = false;
    button.textContent = dark ? "Light" : "Dark";
    button.setAttribute("aria-label", dark ? "Use light colours" : "Use dark colours");
    return dark;
  };
  $("#theme").addEventListener("click", () => {
    chosen = show() ? "light" : "dark";
    try { localStorage.setItem("holter-theme", chosen); } catch { /* for this page only, then */ }
    show();
    draw();
  });
  return { show };
})();

// --- times: from UTC into the reader's zone ----------------------------------------------------------------------

const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");
const two = (number) => String(number).padStart(2, "0");

function localTimes(root) {
  const today = new Date().toDateString();
  for (const each of $$("time[datetime]:not([data-done])", root)) {
    const at = new Date(each.getAttribute("datetime"));
    const clock = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
    const date = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
    const bare = "clock" in each.dataset || ("short" in each.dataset && at.toDateString() === today);
    const near = "short" in each.dataset && Math.abs(at - Date.now()) < 300 * 86400e3;
    each.textContent = bare ? clock : near ? `${MONTHS[at.getMonth()]} ${at.getDate()}, ${clock.slice(0, 5)}` : `${date} ${clock}`;
    each.dataset.done = "";
  }
}

function lasted(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${two(whole % 60)}s`;
  return `${Math.floor(whole / 3600)}h ${two(Math.floor((whole % 3600) / 60))}m`;
}

const took = (seconds) => seconds > 0 && seconds < 1 ? `${Math.round(seconds * 1000)}ms` : lasted(seconds);

// A moment of a plot in the reader's zone, as fine as its span (seconds) asks for.
function moment(seconds, span, whole) {
  const at = new Date(seconds * 1000);
  const date = `${MONTHS[at.getMonth()]} ${at.getDate()}`;
  const clock = `${two(at.getHours())}:${two(at.getMinutes())}`;
  if (whole) return `${date}, ${clock}:${two(at.getSeconds())}`;
  if (span > 300 * 86400) return `${at.getFullYear()}-${two(at.getMonth() + 1)}`;
  return span > 3 * 86400 ? date : span > 86400 ? `${date}, ${clock}` : span > 600 ? clock : `${clock}:${two(at.getSeconds())}`;
}

const skew = Number($("meta[name=now]")?.content ?? 0) - Date.now() / 1000 || 0;
setInterval(() => {
  for (const each of $$("[data-since]")) each.textContent = lasted(Date.now() / 1000 + skew - Number(each.dataset.since));
}, 1000);

// --- parts of the page that change are asked for again when the server says so -------------------------------------

const parts = new Map($$("[data-part]").map((each) => [each.dataset.part, each.innerHTML]));

function put(part, html) {
  const place = $(`[data-part="${part}"]`);
  if (!place || parts.get(part) === html) return;
  const focused = place.contains(document.activeElement) ? document.activeElement : null;
  if (focused && ["INPUT", "SELECT", "TEXTAREA"].includes(focused.tagName)) return; // somebody is typing there
  const again = focused && (focused.id ? `#${CSS.escape(focused.id)}` : focused.href ? `a[href="${CSS.escape(focused.getAttribute("href"))}"]` : null);
  const scrolled = $$(".wide", place).map((each) => each.scrollLeft);
  const open = $$("details", place).map((each) => each.open);
  parts.set(part, html);
  place.innerHTML = html;
  $$(".wide", place).forEach((each, number) => { each.scrollLeft = scrolled[number] ?? 0; });
  $$("details", place).forEach((each, number) => { each.open = open[number] ?? each.open; });
  localTimes(place);
  if ($("[data-plot], [data-usage]", place)) draw();
  if (again) $(again, place)?.focus({ preventScroll: true });
}

let asking = false, wanted = false;

async function refresh() {
  if (asking) { wanted = true; return; }
  asking = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    if (answer.status === 401) { location.reload(); return; }
    if (answer.ok) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const each of $$("[data-part]", page)) put(each.dataset.part, each.innerHTML);
      if (page.title) document.title = page.title;
      if (document.body.dataset.live && !page.body.dataset.live) { // the run has ended
        await follow();
        news?.close();
        clearTimeout(quiet);
        say("");
      }
    }
  } catch { say("away"); } finally {
    asking = false;
    if (wanted) { wanted = false; setTimeout(refresh, 250); }
  }
}

function say(state) {
  const place = $("#live");
  place.dataset.state = state;
  place.textContent = { live: "● live", away: "not up to date: the server does not answer", "": "" }[state];
}

let news = null, quiet = null;

function listen(address) {
  const heard = () => {
    clearTimeout(quiet);
    quiet = setTimeout(() => say("away"), 30000);
    say("live");
  };
  news = new EventSource(address);
  news.onopen = () => { heard(); refresh(); follow(); };
  news.onerror = () => say("away");
  news.addEventListener("change", () => { heard(); refresh(); });
  news.addEventListener("back", () => { heard(); refresh(); });
  news.addEventListener("lines", () => { heard(); follow(); });
  news.addEventListener("here", heard);
  news.addEventListener("away", () => { clearTimeout(quiet); say("away"); });
}

// --- lines of a run that goes on -----------------------------------------------------------------------------------

const KEPT = 2000; // rows; the earlier ones are a link away
let following = false;

async function follow() {
  const list = $("#lines");
  if (!list || !("follow" in list.dataset) || following) return;
  following = true;
  try {
    const address = new URL(list.dataset.source, location.href);
    for (let more = true; more;) {
      address.searchParams.set("after", list.lastElementChild?.dataset.seq ?? 0);
      const answer = await fetch(address, { cache: "no-store" });
      if (!answer.ok) break;
      const html = (await answer.text()).trim();
      if (!html) break;
      const before = list.childElementCount;
      list.insertAdjacentHTML("beforeend", html);
      more = list.childElementCount - before >= 500;
      while (list.childElementCount > KEPT) list.firstElementChild.remove();
      $("#no-lines").hidden = true;
      localTimes(list);
      if ($("#follow")?.checked ?? true) list.scrollTop = list.scrollHeight;
    }
  } catch { say("away"); } finally { following = false; }
}

// --- durations -------------------------------------------------------------------------------------------------------

function draw() {
  if (typeof uPlot === "undefined") return;
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
  const times = { ...axis, space: 90, values: (plot, all) => all.map((each) => moment(each, all[all.length - 1] - all[0])) };
  const none = "\u2013";
  const time = { label: "time", value: (plot, at) => at == null ? none : moment(at, 0, true) };
  const told = (words) => (plot, value) => value == null ? none : words(value);
  const from0 = { range: (plot, low, high) => [0, (high || 1) * 1.08] };
  for (const place of $$("[data-plot]")) {
    const data = JSON.parse(place.dataset.plot);
    const series = (label, name) => ({ label, stroke: colour(name), width: 1, spanGaps: false, value: told(took), paths: () => null, points: { show: true, size: 5, fill: colour(name) } });
    place.replaceChildren();
    new uPlot({
      width: place.clientWidth, height: 220, cursor: { y: false }, scales: { y: from0 },
      axes: [times, { ...axis, size: 64, values: (plot, all) => all.map(took) }],
      series: [time, series("completed", "--good"), series("in trouble", "--bad")],
      hooks: { ready: [(plot) => plot.over.addEventListener("click", () => {
        const at = plot.cursor.idx;
        if (at != null) location.href = `/runs/${data.ids[at]}`;
      })] },
    }, [data.x, data.good, data.bad], place);
  }
  for (const place of $$("[data-usage]")) {
    const data = JSON.parse(place.dataset.usage);
    place.replaceChildren();
    new uPlot({
      width: place.clientWidth, height: 200, cursor: { y: false }, scales: { memory: from0, cpu: from0 },
      axes: [times, { ...axis, scale: "memory", size: 70, values: (plot, all) => all.map((each) => `${each} MB`) },
        { ...axis, scale: "cpu", side: 1, size: 60, grid: { show: false }, values: (plot, all) => all.map((each) => `${each}%`) }],
      series: [time, { label: "memory", scale: "memory", stroke: colour("--accent"), width: 2, value: told((each) => `${each} MB`) },
        { label: "CPU", scale: "cpu", stroke: colour("--warn"), width: 1, value: told((each) => `${each}%`) }],
    }, [data.x, data.memory, data.cpu], place);
  }
}

// --- begin -------------------------------------------------------------------------------------------------------------

theme.show();
localTimes(document);
draw();
addEventListener("resize", (() => { let timer; return () => { clearTimeout(timer); timer = setTimeout(draw, 200); }; })());
const list = $("#lines");
if (list) {
  const target = location.hash.startsWith("#L") && document.getElementById(location.hash.slice(1));
  if (target) target.scrollIntoView({ block: "center" }); else list.scrollTop = list.scrollHeight;
}
if (document.body.dataset.live) listen(document.body.dataset.live);
const retry = $("[data-retry]");
if (retry) setTimeout(() => location.reload(), Number(retry.dataset.retry) * 1000);
addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.target.closest("input, select, textarea")) {
    const search = $("[data-search], #logs input[name=q]");
    if (search) { event.preventDefault(); search.focus(); }
  }
});
