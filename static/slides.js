// A slider beside a number, and the columns of a histogram that it leaves out. Without script the number is enough.

document.addEventListener("input", (event) => {
  const slider = event.target.closest?.("[data-slider]");
  const number = slider ? document.getElementById(slider.dataset.slider) : event.target.closest?.("[data-slides] [type=number]");
  if (!number) return;
  if (slider) number.value = slider.value;
  else number.form.querySelector("[data-slider]").value = number.value;
  document.querySelectorAll(".histogram [data-low]").forEach((column) => {
    column.classList.toggle("out", Number(column.dataset.low) < number.value / number.max - 1e-6);
  });
});

// Letting go of the slider, or leaving the number, shows the clusters.
document.addEventListener("change", (event) => {
  const form = event.target.form;
  if (form?.hasAttribute("data-slides") && event.target.matches("[type=range], [type=number], [type=checkbox]")) form.requestSubmit();
});
