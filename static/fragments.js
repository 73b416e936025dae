// Parts of pages: fetch one, put it where it belongs, show the message that came with it.

const messages = document.getElementById("messages");

/** Fetch a part of a page, or send a form for one. A refusal comes back as text to show, not as an exception. */
export async function ask(address, options = {}) {
  try {
    const answer = await fetch(address, { ...options, headers: { "X-Fragment": "1" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const refusal = page.querySelector("[data-error]")?.textContent;
    return { ok: answer.ok, page, refusal, at: answer.redirected ? answer.url : "" };
  } catch {
    return { ok: false, refusal: "Curator does not answer. Is it still running? Nothing was lost: try again." };
  }
}

/** Show the messages of a page that was fetched; the newest ones only. */
function announce(page) {
  const said = [...page.querySelectorAll("[data-message]")].map((message) => document.adoptNode(message));
  if (said.length) messages.replaceChildren(...said);
}

/** Say something that the server did not say. */
export function say(text, isBad = false) {
  const message = document.createElement("div");
  message.className = isBad ? "message bad" : "message";
  const sentence = document.createElement("p");
  sentence.textContent = text;
  const close = document.createElement("button");
  Object.assign(close, { type: "button", className: "little close", textContent: "×" });
  close.dataset.close = "";
  close.setAttribute("aria-label", "Close this message");
  message.append(sentence, close);
  messages.replaceChildren(message);
}

/** Bring a part into view where it is not: what was refused, and why, from its beginning. */
function show(place) {
  const { top } = place.getBoundingClientRect();
  const isHigh = top > 60 && top < innerHeight * 0.4; // nothing jumps that begins in sight
  if (!isHigh) place.scrollIntoView({ block: place.querySelector("[role=alert], .restored") ? "start" : "nearest" });
}

/** Where one thing at a time is shown, the address names it: a reload shows what is shown. */
function keepAddress() {
  const shown = document.querySelector("main [data-address]");
  if (shown) history.replaceState(null, "", shown.dataset.address);
  return shown;
}
keepAddress();

/** Put a fetched part into its place, and the focus to where work goes on. */
function put(place, page) {
  announce(page);
  page.querySelectorAll("#messages").forEach((node) => node.remove());
  place.replaceChildren(...[...page.body.childNodes].map((node) => document.adoptNode(node)));
  const at = keepAddress();
  const field = place.querySelector("textarea, [autofocus]");
  (field ?? place.querySelector("[data-row], [data-item]"))?.focus({ preventScroll: true });
  place.dispatchEvent(new CustomEvent("arrived", { bubbles: true }));
  if (at && place.contains(at)) scrollTo(0, 0);
  else show(place);
}

/** Fetch this page again and take its content over, so that scroll, focus and ticks stay as they are by then. */
export async function refresh() {
  const answer = await fetch(location.href).catch(() => null);
  if (!answer) return; // the server comes back, and what is shown stays until then
  if (new URL(answer.url).pathname !== location.pathname) return location.replace(answer.url); // it went on elsewhere
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (!page.querySelector(".rail-end")) return location.reload(); // no page of ours: it says what it waits for
  const ids = []; // what the focus is in, the innermost first
  for (let e = document.activeElement?.closest("main [id]"); e; e = e.parentElement.closest("main [id]")) {
    ids.push(e.getAttribute("id")); // a field named "id" hides form.id
  }
  const place = rowNumber();
  const ticked = [...document.querySelectorAll("main .pick input:checked")].map((box) => box.value);
  for (const part of ["main", ".rail > ul", ".rail-end", ".more > div"]) {
    document.querySelector(part).replaceChildren(...document.adoptNode(page.querySelector(part)).childNodes);
  }
  document.querySelectorAll("main .pick input").forEach((box) => (box.checked ||= ticked.includes(box.value)));
  const rows = document.querySelectorAll("main [data-row]");
  const again = ids.map((id) => document.getElementById(id)).find(Boolean);
  const row = again?.querySelector("[data-row]") ?? again?.closest("[data-row]") ?? rows[Math.min(place, rows.length - 1)];
  (row ?? document.querySelector("main [data-item]"))?.focus({ preventScroll: true });
  document.querySelector("main").dispatchEvent(new CustomEvent("arrived", { bubbles: true }));
}

function rowNumber() {
  return [...document.querySelectorAll("main [data-row]")].indexOf(document.activeElement?.closest("[data-row]"));
}

/** The element that a link or form fills, where it stands on this page. A field named "dataset" hides form.dataset. */
function target(element) {
  const place = element.getAttribute("data-into");
  return place && document.querySelector(place);
}

async function follow(link) {
  const place = target(link);
  const { ok, page, refusal } = await ask(link.dataset.href ?? link.href);
  if (!ok) return say(refusal ?? "That did not work.", true);
  put(place, page);
}

async function send(form, button) {
  const data = new FormData(form, button);
  if (form.ariaBusy) return; // a second press while the first is on its way
  form.ariaBusy = "true";
  const { ok, page, refusal, at } = await ask(button?.getAttribute("formaction") ?? form.getAttribute("action"), { method: "POST", body: data });
  form.ariaBusy = null;
  // It became long work, which is followed there; the page of a run that was stopped has its card, too.
  if (at && new URL(at, location).pathname !== location.pathname && page.querySelector("[data-job]")) return location.assign(at);
  if (!page || (refusal && !ok)) return say(refusal ?? "That did not work.", true);
  if (ok) {
    form.dispatchEvent(new CustomEvent("sent", { bubbles: true }));
    [...form.elements].filter((box) => box.closest(".pick")).forEach((box) => (box.checked = false)); // it is done to them
  }
  const place = target(form);
  if (place && !(ok && form.hasAttribute("data-quiet"))) {
    const following = place.nextElementSibling?.querySelector("[data-row]");
    put(place, page);
    if (ok && form.hasAttribute("data-onward")) following?.focus();
  } else {
    announce(page);
    // There, undo goes back to what it was done to.
    const back = form.matches(".message form") && form.elements.namedItem("back")?.value;
    if (back && keepAddress()) history.replaceState(null, "", back);
    await refresh();
  }
}

/** Fetch what the server would have taken too long for to give it with the page. */
function load(place) {
  place.querySelectorAll("[data-load]").forEach(async (part) => {
    const { ok, page } = await ask(part.getAttribute("data-load"));
    page?.querySelectorAll("#messages").forEach((node) => node.remove());
    if (ok) part.replaceChildren(...[...page.body.childNodes].map((node) => document.adoptNode(node)));
  });
}
document.addEventListener("arrived", (event) => load(event.target));
load(document);

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-close]")) event.target.closest(".message").remove();
  const link = event.target.closest("a[data-into]");
  const isPlain = event.button === 0 && !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);
  const leave = event.target.closest("a[data-empty]");
  const left = leave && isPlain && document.querySelector(leave.dataset.empty);
  if (left) {
    event.preventDefault();
    const row = left.closest("[data-row], [data-item]");
    left.replaceChildren();
    if (leave.hasAttribute("data-renew")) refresh(); // what stands around the form is no longer so
    return row?.focus({ preventScroll: true });
  }
  if (link && isPlain && target(link)) {
    event.preventDefault();
    follow(link);
  }
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!(target(form) || form.hasAttribute("data-quiet"))) return;
  event.preventDefault();
  send(form, event.submitter);
});
