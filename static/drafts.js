// Drafts: what is typed into a form with data-draft is kept in this browser until the form was sent.

const keyOf = (form) => "draft:" + form.getAttribute("data-draft"); // a field named "dataset" hides form.dataset
const fields = (form) => [...form.elements].filter((e) => e.matches("textarea, input:not([type=hidden]), select") && e.name);

function keep(form) {
  const values = fields(form).map((field) => [field.name, field.value]);
  try {
    localStorage.setItem(keyOf(form), JSON.stringify(values));
  } catch {
    // A full or closed store keeps no draft; the form itself works on.
  }
}

function forget(form) {
  localStorage.removeItem(keyOf(form));
}

/** Fill a form with its draft, and say so with a way back to what is saved. */
function restore(form) {
  let values;
  try {
    values = JSON.parse(localStorage.getItem(keyOf(form)));
  } catch {
    return;
  }
  if (!values || form.querySelector("[role=alert], .restored")) return; // refused by the server: what was typed is there
  const own = fields(form);
  const differs = values.some(([name, value], i) => own[i]?.name === name && own[i].value !== value);
  if (!differs) return;
  const saved = own.map((field) => field.value);
  values.forEach(([name, value], i) => own[i]?.name === name && (own[i].value = value));
  form.closest("details")?.setAttribute("open", "");
  const note = document.createElement("div");
  note.className = "note restored";
  const button = Object.assign(document.createElement("button"), { type: "button", className: "little", textContent: "Drop it" });
  button.addEventListener("click", () => {
    own.forEach((field, i) => (field.value = saved[i]));
    forget(form);
    note.remove();
  });
  note.append("What you typed here before is back. ", button);
  form.prepend(note);
}

const restoreIn = (place) => place.querySelectorAll("form[data-draft]").forEach(restore);

document.addEventListener("input", (event) => {
  const form = event.target.closest?.("form[data-draft]");
  if (form) keep(form);
});
document.addEventListener("sent", (event) => event.target.matches("[data-draft]") && forget(event.target));
// A form that loads another page: where the server refuses it, that page holds what was typed.
document.addEventListener("submit", (event) => {
  if (event.target.matches("[data-draft]") && !event.defaultPrevented) forget(event.target);
});
document.addEventListener("arrived", (event) => restoreIn(event.target));
restoreIn(document);
