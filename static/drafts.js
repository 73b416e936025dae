// Drafts: what is typed into a form with data-draft is kept in this browser until the server has it.

import { setTurns } from "./fields.js";

const keyOf = (form) => "draft:" + form.getAttribute("data-draft"); // a field named "dataset" hides form.dataset
const fields = (form) => [...form.elements].filter((e) => e.matches("textarea, input:not([type=hidden]), select") && e.name);
const revisionOf = (form) => form.querySelector("[name=revision]");
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const date = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "long" });

function read(key) {
  try {
    const draft = JSON.parse(localStorage.getItem(key));
    return Array.isArray(draft?.values) ? draft : null;
  } catch {
    return null;
  }
}

/** Keep what a form holds, and which revision of the pair it was typed over. */
function keep(form) {
  const values = fields(form).map((field) => [field.name, field.value]);
  try {
    localStorage.setItem(keyOf(form), JSON.stringify({ at: Date.now(), revision: revisionOf(form)?.value, values }));
  } catch {
    // A full or closed store keeps no draft; the form itself works on.
  }
}

function forget(form) {
  localStorage.removeItem(keyOf(form));
}

/** Give the fields of a form values: those of one name in their order, earlier turns as many as there are. */
function fill(form, values) {
  setTurns(form, values.filter(([name]) => name === "turn").length);
  const seen = {};
  for (const [name, value] of values) {
    const nth = (seen[name] = (seen[name] ?? -1) + 1);
    const field = fields(form).filter((each) => each.name === name)[nth];
    if (field) field.value = value;
  }
}

/** What a form would send: turns that are blank are dropped. */
function meant(values) {
  const turns = values.filter(([name], i) => name === "turn" || values[i + 1]?.[0] === "turn");
  const rest = values.filter((value) => !turns.includes(value));
  const said = [];
  for (let i = 0; i + 1 < turns.length; i += 2) if (turns[i + 1][1].trim()) said.push(turns[i], turns[i + 1]);
  return JSON.stringify([rest, said]);
}

/** Fill a form with its draft, and say so with a way back to what is saved. */
function restore(form) {
  if (form.querySelector(".restored")) return;
  // Refused by the server: what was typed stands in the form, and is a draft over what is saved by now.
  if (form.querySelector("[role=alert]")) return keep(form);
  const draft = read(keyOf(form));
  if (!draft) return;
  const saved = fields(form).map((field) => [field.name, field.value]);
  if (meant(draft.values) === meant(saved)) return forget(form);
  const revision = revisionOf(form);
  const current = revision?.value;
  fill(form, draft.values);
  // It was typed over an older text. The server shows both when it is saved, and overwrites neither.
  const isOld = revision && draft.revision && draft.revision !== current;
  if (isOld) revision.value = draft.revision;
  form.closest("details")?.setAttribute("open", "");
  const note = document.createElement("div");
  note.className = "note restored";
  note.setAttribute("role", "status");
  const button = Object.assign(document.createElement("button"), { type: "button", className: "little", textContent: "Discard" });
  button.addEventListener("click", () => {
    fill(form, saved);
    if (isOld) revision.value = current;
    forget(form);
    note.remove();
    fields(form)[0]?.focus();
  });
  const at = new Date(draft.at);
  const when = at.toDateString() === new Date().toDateString() ? clock.format(at) : `${date.format(at)}, ${clock.format(at)}`;
  const since = isOld ? " The pair was changed since; saving shows you both." : "";
  note.append(`Unsaved text from ${when} restored.${since} `, button);
  form.prepend(note);
}

const restoreIn = (place) => place.querySelectorAll("form[data-draft]").forEach(restore);

document.addEventListener("input", (event) => {
  const form = event.target.closest?.("form[data-draft]");
  if (form) keep(form);
});
document.addEventListener("sent", (event) => event.target.matches("[data-draft]") && forget(event.target));
document.addEventListener("click", (event) => {
  const drop = event.target.closest("[data-drop-draft]");
  if (drop) localStorage.removeItem("draft:" + drop.dataset.dropDraft);
});

// A form that loads another page: the draft goes when that page says what was done, and stays where none came.
document.addEventListener("submit", (event) => {
  if (event.target.matches("[data-draft]") && !event.defaultPrevented) sessionStorage.setItem("sending", keyOf(event.target));
});
const sending = sessionStorage.getItem("sending");
sessionStorage.removeItem("sending");
if (sending && document.querySelector("[data-message]") && !document.querySelector("[data-error]")) localStorage.removeItem(sending);

document.addEventListener("arrived", (event) => restoreIn(event.target));
restoreIn(document);
