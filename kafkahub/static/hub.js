/** What every page has: scheme switch, copy buttons, confirmation, focus, keys. Sets text only. */
const THEMES = ["system", "light", "dark"];
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

function showTheme() {
  const now = document.documentElement.dataset.theme ?? "system";
  for (const each of all("[data-theme-switch]")) each.textContent = `Theme: ${now}`;
}

function switchTheme() {
  const root = document.documentElement;
  const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? "system") + 1) % THEMES.length];
  if (next === "system") delete root.dataset.theme;
  else root.dataset.theme = next;
  localStorage.setItem("theme", next === "system" ? "auto" : next);
  showTheme();
}

async function copy(button) {
  const source = button.dataset.copy
    ? document.getElementById(button.dataset.copy)
    : button.closest(".copyable").querySelector("pre");
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(source.textContent.trim());
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(source);
    button.textContent = "Press Ctrl-C";
  }
  setTimeout(() => (button.textContent = before), 2_000);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.matches("[data-theme-switch]")) switchTheme();
  if (button.matches("[data-copy]")) copy(button);
  if (button.dataset.fill) {
    const field = document.getElementById(button.dataset.fill);
    field.value = button.dataset.value;
    field.focus();
  }
});

/* A destructive button says what it does and asks once more, in its own place. */
document.addEventListener("submit", (event) => {
  const asked = event.submitter?.dataset.sure;
  if (!asked || event.submitter.dataset.asked) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  event.submitter.dataset.asked = "1";
  event.submitter.textContent = asked;
}, true);

function focusFault(within) {
  within.querySelector("[data-focus]")?.focus();
}

const isTyping = (node) => node.closest("input, select, textarea, [contenteditable]");
const GO = { s: "start", k: "keys", e: "endpoints", u: "subscriptions", d: "deliveries", c: "console", r: "replays", a: "alerts" };
let isGoing = false;

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  if (localStorage.getItem("keys") === "off") return;
  const root = document.body.dataset.root;
  if (isGoing && root && GO[event.key]) location.href = root + GO[event.key];
  isGoing = event.key === "g";
  if (event.key === "/") {
    const search = document.querySelector("[data-search]");
    if (search) { event.preventDefault(); search.focus(); }
  }
  if (event.key === "?") document.getElementById("keys-help")?.showPopover?.();
});

showTheme();
focusFault(document);
document.addEventListener("htmx:afterSwap", (event) => focusFault(event.target));
