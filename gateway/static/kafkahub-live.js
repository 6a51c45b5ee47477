/** The page that streams live; everything it shows is set as text. */
import { openStream } from "./kafkahub-stream.js";

const SHOWN = 50;
const part = (id) => document.getElementById(id);
let stream = null;
let count = 0;

function show(record) {
  count += 1;
  part("count").textContent = String(count);
  const item = document.createElement("li");
  const content = document.createElement("pre");
  content.textContent = typeof record === "string" ? record : JSON.stringify(record, null, 1);
  item.append(content);
  part("records").prepend(item);
  while (part("records").children.length > SHOWN) part("records").lastElementChild.remove();
}

function open(options) {
  stream?.close();
  count = 0;
  part("note").textContent = "";
  part("records").replaceChildren();
  const opened = openStream({
    ...options,
    onMessage: (record) => show(record),
    onGap: (gap) => (part("note").textContent = `A gap: ${gap.reason}.`),
    onState: (state) => (part("state").textContent = state.replace("_", " ")),
    onError: (error) => (part("note").textContent = error.detail ?? error.message),
  });
  stream = opened;
  const beat = setInterval(() => (part("cursor").textContent = opened.cursor ?? "none"), 500);
  part("close").disabled = false;
  opened.closed.then(() => {
    clearInterval(beat);
    if (stream === opened) part("close").disabled = true;
  });
}

part("open").addEventListener("submit", (event) => {
  event.preventDefault();
  const { url, topics, key, from } = Object.fromEntries(new FormData(event.target));
  const list = topics.split(",").map((topic) => topic.trim()).filter(Boolean);
  const address = url || location.origin;
  if (url || list.length) open({ url: address, topics: list, from, ...(key && { token: key }) });
});
part("close").addEventListener("click", () => stream?.close());
