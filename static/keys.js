// Keys. An element says which key presses it with aria-keyshortcuts; this finds the nearest one that is in sight.

let prefix = "";

/** The key of an event as aria-keyshortcuts writes it: "a", "?", "Control+Enter". */
function nameOf(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  return (event.ctrlKey || event.metaKey ? "Control+" : "") + key;
}

function isTyping(element) {
  return element.closest("textarea, select, [contenteditable], input:not([type=checkbox], [type=radio])") !== null;
}

const isSeen = (element) => element.checkVisibility({ visibilityProperty: true });

/** What a key presses: inside the current row or form first, then on the page outside of all rows. */
function find(name) {
  // "g r" goes somewhere; its "r" alone is no key of that link.
  const alone = `[aria-keyshortcuts~="${CSS.escape(name)}"]:not([aria-keyshortcuts^="g "])`;
  const wanted = name.startsWith("g ") ? `[aria-keyshortcuts="${name}"]` : alone;
  const active = document.activeElement ?? document.body;
  const near = active.closest("[data-row], form, details");
  for (let scope = near; scope; scope = scope.parentElement?.closest("[data-row], form, details")) {
    const found = [...scope.querySelectorAll(wanted)].find(isSeen);
    if (found) return found;
  }
  return [...document.querySelectorAll(wanted)].find((element) => isSeen(element) && !element.closest("[data-row]"));
}

/** Press a button or link, go into a field, tick a box. */
function press(element) {
  if (element.matches("textarea, input:not([type=checkbox])")) {
    element.focus();
    element.select?.();
  } else {
    element.click();
  }
}

/** Go to the next or the previous row. */
function step(by) {
  const rows = [...document.querySelectorAll("main [data-row]")].filter(isSeen);
  const here = rows.indexOf(document.activeElement?.closest("[data-row]"));
  const next = rows[here < 0 ? (by > 0 ? 0 : rows.length - 1) : here + by];
  if (!next) return false;
  next.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
  return true;
}

/** Take the focus out of a field, to where keys are heard again: its row, else the page. */
function leave(field) {
  const place = field.closest("[data-row], [data-item]") ?? document.querySelector("main [data-item]") ?? document.getElementById("main");
  place ? place.focus({ preventScroll: true }) : field.blur();
}

/** "t" opens the form with the tags in hand. */
function tags() {
  const row = document.activeElement?.closest("[data-row]");
  const edit = row && find("e");
  if (!edit) return;
  row.parentElement.addEventListener("arrived", (event) => event.target.querySelector("[name=tags]")?.focus(), { once: true });
  edit.click();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-step]");
  if (button) step(Number(button.dataset.step));
});

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.isComposing || event.repeat && event.key === "Enter") return;
  const name = nameOf(event);
  const typing = isTyping(event.target);
  if (document.querySelector("dialog[open]")) return;
  if (typing) {
    // In a field only its own form listens, and only to the keys that leave it.
    if (name !== "Escape" && name !== "Control+Enter") return;
    const button = event.target.form?.querySelector(`[aria-keyshortcuts~="${CSS.escape(name)}"]`);
    if (button) event.preventDefault();
    if (name === "Escape") leave(event.target);
    button?.click();
    return;
  }
  // Enter presses what has the focus; a row is no control, so there it opens the pair.
  if (name === "Enter" && !event.target.matches("[data-row]")) return;
  if (name.startsWith("Control+") && name !== "Control+Enter") return;

  const chord = prefix ? `${prefix} ${name}` : name;
  prefix = "";
  if (chord === "g") {
    prefix = "g";
    setTimeout(() => (prefix = ""), 1500);
    return;
  }
  const found = find(chord);
  if (found) {
    event.preventDefault();
    press(found);
  } else if ((chord === "j" || chord === "k") && step(chord === "j" ? 1 : -1)) {
    event.preventDefault();
  } else if (chord === "t") {
    event.preventDefault();
    tags();
  }
});
