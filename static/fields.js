// The fields of a pair: earlier turns that are added, moved and removed, and areas that grow with their text.

let made = 0;

const turnsOf = (form) => [...form.querySelectorAll(".turnform")];

/** Add a blank turn below the others; who says it alternates. */
function addTurn(form) {
  const last = turnsOf(form).at(-1);
  const turn = last.cloneNode(true);
  made += 1;
  for (const field of turn.querySelectorAll("select, textarea")) {
    const id = field.id.replace(/-\w+$/, `-new${made}`);
    turn.querySelector(`label[for="${CSS.escape(field.id)}"]`).htmlFor = id;
    field.id = id;
  }
  turn.querySelector("textarea").value = "";
  turn.querySelector("select").value = last.querySelector("select").value === "user" ? "assistant" : "user";
  last.after(turn);
  return turn;
}

/** Give a form that many turns, more or fewer than it has; the last one stays, to be copied. */
export function setTurns(form, count) {
  if (!turnsOf(form).length) return;
  while (turnsOf(form).length < count) addTurn(form);
  while (turnsOf(form).length > Math.max(count, 1)) turnsOf(form).at(-1).remove();
}

/** Do to a turn what its button says, and keep the focus by it. */
function act(button) {
  const form = button.form;
  const turn = button.closest(".turnform");
  const what = button.dataset.turn;
  if (what === "add") {
    addTurn(form).querySelector("textarea").focus();
  } else if (what === "remove") {
    const next = turn.nextElementSibling?.matches(".turnform") ? turn.nextElementSibling : turn.previousElementSibling;
    if (next?.matches(".turnform")) {
      turn.remove();
      next.querySelector("textarea").focus();
    } else {
      turn.querySelector("textarea").value = ""; // a blank one is dropped when the pair is saved
    }
  } else {
    const other = what === "up" ? turn.previousElementSibling : turn.nextElementSibling;
    if (!other?.matches(".turnform")) return;
    what === "up" ? other.before(turn) : other.after(turn);
    button.focus();
  }
  form.dispatchEvent(new Event("input", { bubbles: true })); // what is typed is kept as a draft
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-turn]");
  if (button) act(button);
});

// Browsers that size a field by its content need none of this.
const grow = (area) => {
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + 2}px`;
};
if (!CSS.supports("field-sizing", "content")) {
  document.addEventListener("input", (event) => event.target.matches("textarea") && grow(event.target));
  document.addEventListener("arrived", (event) => event.target.querySelectorAll("textarea").forEach(grow));
  document.querySelectorAll("textarea").forEach(grow);
}
