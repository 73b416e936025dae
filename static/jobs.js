// Follows the job or the training of this page until it has ended. Without script the page loads itself again.

import { ask, refresh } from "./fragments.js";

const card = () => document.querySelector("[data-job]");
const isAtWork = () => ["waiting", "running"].includes(card()?.dataset.state);
const pause = () => Number(card().dataset.pause ?? 700); // milliseconds
const said = Object.assign(document.createElement("p"), { className: "unseen", ariaLive: "polite" });

/** Put new numbers into their places; nothing else moves, and the focus stays where it is. */
function renew(fresh) {
  const old = [...card().querySelectorAll("[data-live]")];
  [...fresh.querySelectorAll("[data-live]")].forEach((part, i) => old[i]?.replaceWith(document.adoptNode(part)));
}

async function follow() {
  const { ok, page } = await ask(card().dataset.href ?? location.href);
  const fresh = ok ? page.querySelector("[data-job]") : null; // no answer: the server comes back, so ask again
  if (fresh?.dataset.onward) return location.replace(fresh.dataset.onward);
  if (fresh && fresh.dataset.state === card().dataset.state) {
    renew(fresh);
  } else if (fresh) {
    const hadFocus = card().contains(document.activeElement);
    await refresh(); // the rail counts the jobs too
    if (hadFocus) card()?.focus({ preventScroll: true });
    said.textContent = card()?.querySelector(".told, .note, .pace")?.textContent.trim() ?? "";
  }
  if (isAtWork()) setTimeout(follow, pause());
}

if (isAtWork()) {
  document.body.append(said);
  setTimeout(follow, pause());
}
