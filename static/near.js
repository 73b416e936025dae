// Beside a pair form: what is there that says nearly the same as what is being typed.

import { ask } from "./fragments.js";

const PAUSE = 300; // milliseconds without a key
let waiting = 0;
let asked = null;

async function look(form, place) {
  asked?.abort();
  asked = new AbortController();
  const { signal } = asked;
  const data = new FormData();
  for (const name of ["question", "answer"]) data.append(name, form.elements[name].value);
  data.append("pair", place.dataset.pair);
  const { ok, page } = await ask(place.dataset.near, { method: "POST", body: data, signal });
  if (!ok || signal.aborted) return; // what stood there is better than nothing
  place.replaceChildren(...[...page.body.childNodes].map((node) => document.adoptNode(node)));
}

document.addEventListener("input", (event) => {
  const form = event.target.form;
  const place = form?.querySelector("[data-near]");
  if (!place || !["question", "answer"].includes(event.target.name)) return;
  clearTimeout(waiting);
  waiting = setTimeout(() => look(form, place), PAUSE);
});
// A form that was sent comes back for the next pair: an answer to the last one would stand beside it.
document.addEventListener("sent", () => {
  clearTimeout(waiting);
  asked?.abort();
});
