// A file dropped anywhere is uploaded and shown before anything is added.

import { say } from "./fragments.js";

let sign = null;
const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");

function hide() {
  sign?.remove();
  sign = null;
}

document.addEventListener("dragover", (event) => {
  if (!holdsFiles(event)) return;
  event.preventDefault();
  if (sign) return;
  sign = Object.assign(document.createElement("div"), { className: "dropping", textContent: "Drop it to look at it" });
  document.body.append(sign);
});
document.addEventListener("dragleave", (event) => event.relatedTarget === null && hide());
document.addEventListener("drop", async (event) => {
  if (!holdsFiles(event)) return;
  event.preventDefault();
  hide();
  const [file, ...others] = event.dataTransfer.files;
  if (!file) return;
  say(others.length ? `Looking at ${file.name}, the first of ${others.length + 1}.` : `Looking at ${file.name}.`);
  const form = document.createElement("form");
  Object.assign(form, { method: "post", action: document.body.dataset.upload, enctype: "multipart/form-data", hidden: true });
  const input = Object.assign(document.createElement("input"), { type: "file", name: "file" });
  const one = new DataTransfer();
  one.items.add(file);
  input.files = one.files;
  form.append(input);
  document.body.append(form);
  form.submit();
});
