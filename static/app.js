// What makes the pages quick. Each works without it.

import { say } from "./fragments.js";
import "./drafts.js";
import "./drop.js";
import "./fields.js";
import "./jobs.js";
import "./keys.js";
import "./near.js";
import "./slides.js";

const number = new Intl.NumberFormat("en-GB");
const pairs = (n) => `${number.format(n)} ${n === 1 ? "pair" : "pairs"}`;

document.addEventListener("click", async (event) => {
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    await navigator.clipboard.writeText(copy.dataset.copy).then(
      () => (copy.textContent = "Copied"),
      () => say("The browser does not let this page copy. Select the line and copy it by hand.", true),
    );
    setTimeout(() => (copy.textContent = "Copy"), 1600);
  }
  const opener = event.target.closest("[data-open]");
  if (opener) document.getElementById(opener.dataset.open).showModal();
  if (event.target.matches("dialog")) event.target.close(); // the backdrop
  document.querySelectorAll("details.menu[open]").forEach((menu) => menu.contains(event.target) || (menu.open = false));
  const summary = event.target.closest("summary");
  if (summary?.parentElement.id === "better") setTimeout(() => summary.parentElement.querySelector("textarea").focus());
});

// A form's own properties can be hidden by fields of that name, "dataset" being one: attributes are read as such.
document.addEventListener("change", (event) => {
  if (event.target.closest("select[data-submit], form[data-submit] [type=checkbox]")) event.target.form.requestSubmit();
  count();
});

/** Keep the exact numbers on the buttons: pairs selected, and pairs left to clean. */
function count() {
  const selected = document.querySelectorAll(".pick input:checked").length;
  document.querySelectorAll("[data-count]").forEach((label) => {
    label.textContent = `${pairs(selected)} selected`;
    label.closest("form").querySelectorAll("[data-number]").forEach((place) => (place.textContent = number.format(selected)));
  });
  document.querySelectorAll("form[data-countdown]").forEach((form) => {
    const left = form.getAttribute("data-countdown") - form.querySelectorAll("[name=except]:checked").length;
    const button = form.querySelector("[data-count-label]");
    if (!button) return; // only some were looked at so far: nothing can be cleaned yet
    button.textContent = `Clean ${pairs(left)}`;
    button.disabled = left === 0;
  });
}
document.addEventListener("arrived", count);
count();

document.addEventListener("submit", (event) => {
  if (!event.target.hasAttribute("data-theme-switch")) return;
  event.preventDefault();
  const theme = event.submitter.value;
  document.documentElement.dataset.theme = theme;
  document.querySelectorAll("[data-theme-switch] button").forEach((button) => button.setAttribute("aria-pressed", button.value === theme));
  fetch(event.target.action, { method: "POST", body: new FormData(event.target, event.submitter), redirect: "manual" });
});
