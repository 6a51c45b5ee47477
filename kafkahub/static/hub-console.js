/**
 * The live console. Draws at most 20 rows a second and keeps 500; everything is set as text.
 * Pausing closes the stream and keeps its cursor, so going on shows what came meanwhile.
 */
import { openStream } from "./kafkahub-stream.js";

const KEPT = 500;
const EACH_TICK = 5;
const TICK_MS = 250;
const PREVIEW = 160;

const part = (id) => document.getElementById(id);
const form = part("console-form");
let stream = null;
let cursor = null;
let seen = 0;
let drawn = 0;
let rateAt = Date.now();
let seenThen = 0;
let waiting = [];
let isPaused = false;

async function ticket() {
  const response = await fetch(`${form.dataset.root}console/ticket`, {
    method: "POST", body: new FormData(form), credentials: "same-origin",
  });
  const answer = await response.json().catch(() => ({ error: "The server did not answer." }));
  if (answer.error) throw Object.assign(new Error(answer.error), { isOurs: true, cause: new Error(answer.error) });
  return answer.ticket;
}

function say(text) {
  if (part("c-note").textContent !== text) part("c-note").textContent = text;
}

function badge(state) {
  const tones = { live: "ok", paused: "muted", closed: "muted", waiting: "warn" };
  part("c-state").className = `badge badge-${tones[state] ?? "info"}`;
  part("c-state").textContent = state.replace("_", " ");
}

function open() {
  stream?.close();
  isPaused = false;
  const { topic, from } = Object.fromEntries(new FormData(form));
  const opened = openStream({
    url: location.origin,
    topics: [topic],
    ticket,
    ...(cursor ? { cursor } : { from }),
    onMessage: (record, { id }) => { seen += 1; waiting.push([record, id]); trim(); },
    onGap: (gap) => say(`A gap: ${gap.reason}. These records will never come.`),
    onError: (error) => say(error.detail ?? error.message),
    onState: (state) => { if (stream === opened || !stream) tell(state); },
  });
  stream = opened;
  part("c-pause").disabled = part("c-clear").disabled = false;
  part("c-pause").textContent = "Pause";
}

/** A burst shows its newest; how many passed unseen is said, not hidden. */
function trim() {
  if (waiting.length > KEPT) waiting = waiting.slice(-KEPT);
}

function tell(state) {
  badge(isPaused ? "paused" : state);
  if (state === "live" && seen === 0) say("Connected. Nothing passed yet.");
  if (state === "waiting") say("The connection was lost; it comes back by itself.");
}

function pause() {
  if (!stream) return;
  isPaused = !isPaused;
  if (isPaused) {
    stream.close();
    cursor = stream.cursor ?? cursor;
    badge("paused");
    say("Paused. Going on shows what came meanwhile.");
    part("c-pause").textContent = "Go on";
  } else open();
}

function cell(text, className = "") {
  const made = document.createElement("span");
  made.textContent = text;
  made.className = className;
  return made;
}

function row([record, id]) {
  const item = document.createElement("li");
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  const whole = typeof record === "string" ? record : JSON.stringify(record);
  const value = record?.data === undefined ? whole : JSON.stringify(record.data);
  summary.append(
    cell(String(record?.timestamp ?? "").slice(11, 23), "mono"),
    cell(String(record?.type ?? "")),
    cell(`${new Blob([whole]).size} B`, "number"),
    cell(value.slice(0, PREVIEW), "mono"),
  );
  const inside = document.createElement("div");
  details.append(summary, inside);
  details.addEventListener("toggle", () => fill(inside, record, id), { once: true });
  item.append(details);
  return item;
}

function fill(inside, record, id) {
  const shown = document.createElement("pre");
  shown.className = "payload";
  shown.tabIndex = 0;
  shown.ariaLabel = "Record";
  shown.textContent = typeof record === "string" ? record : JSON.stringify(record, null, 2);
  const place = document.createElement("p");
  place.className = "small";
  place.append("Cursor: ", Object.assign(document.createElement("code"), { textContent: id ?? "none" }));
  inside.append(shown, place);
  part("c-cursor").value = id ?? "";
}

function draw() {
  if (!waiting.length) return;
  const list = part("c-records");
  list.hidden = false;
  const now = waiting.splice(0, EACH_TICK);
  // What is under the pointer or focus stays where it is: new rows wait for the next moment.
  if (list.matches(":hover") || list.contains(document.activeElement)) {
    waiting.unshift(...now);
    part("c-show").textContent = `${waiting.length} new`;
    part("c-more").hidden = false;
    return;
  }
  put(now);
}

function put(records) {
  const list = part("c-records");
  for (const each of records) { list.prepend(row(each)); drawn += 1; }
  while (list.children.length > KEPT) list.lastElementChild.remove();
  part("c-more").hidden = true;
  const passed = Date.now() - rateAt;
  if (passed >= 1_000) {
    const rate = Math.round(((seen - seenThen) * 1_000) / passed);
    [rateAt, seenThen] = [Date.now(), seen];
    say(rate > 20 ? `Showing 20 of ${rate} records a second.` : `${seen} records.`);
  }
}

form?.addEventListener("submit", (event) => {
  event.preventDefault();
  [cursor, seen, drawn, seenThen, waiting] = [null, 0, 0, 0, []];
  part("c-records").replaceChildren();
  say("Connecting.");
  open();
});
part("c-pause")?.addEventListener("click", pause);
part("c-clear")?.addEventListener("click", () => part("c-records").replaceChildren());
part("c-show")?.addEventListener("click", () => { put(waiting.splice(0)); });
part("c-records")?.addEventListener("keydown", (event) => {
  if (event.key === " " && event.target.tagName !== "SUMMARY") { event.preventDefault(); pause(); }
});
if (form) setInterval(draw, TICK_MS);
