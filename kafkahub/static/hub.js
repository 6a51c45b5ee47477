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
  if (button.matches("[data-keys]")) showKeys();
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
let isGoing = false;

const isOn = () => localStorage.getItem("keys") !== "off";

/* The list says which keys there are, and is where they are switched off (WCAG 2.1.4). */
function showKeys() {
  const list = document.getElementById("keys-help");
  if (!list || list.open) return;
  list.querySelector("input").checked = isOn();
  list.showModal();
}

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-keys-switch]"))
    localStorage.setItem("keys", event.target.checked ? "on" : "off");
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  if (!isOn() || document.querySelector("dialog[open]")) return;
  const place = isGoing && all("[data-go]").find((link) => link.dataset.go === event.key);
  isGoing = event.key === "g";
  if (place) place.click();
  else if (event.key === "/") {
    const search = document.querySelector("[data-search]");
    if (search) { event.preventDefault(); search.focus(); }
  } else if (event.key === "?") showKeys();
});

showTheme();
focusFault(document);
document.addEventListener("htmx:afterSwap", (event) => focusFault(event.target));
