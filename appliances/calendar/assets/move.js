// Events are dragged to another day, and in a week or day to another hour. Without this script they are moved on their own page.
"use strict";
(() => {
  const form = document.querySelector("form.mover");
  let dragged = null, grabbedAt = 0;
  const dayNumber = (text) => Date.parse(text + "T00:00:00Z") / 86400000;
  // Whole days go to days, hours to hours; in a month everything goes to any day.
  const accepts = (place) => dragged && (place.classList.contains("day") || place.classList.contains("column") === Boolean(dragged.closest(".column")));
  const mark = (place) => {
    document.querySelectorAll(".target").forEach((one) => one.classList.remove("target"));
    if (place) place.classList.add("target");
  };
  document.addEventListener("dragstart", (event) => {
    dragged = event.target.closest("a.event[draggable]");
    if (!dragged) return;
    grabbedAt = event.pageY;
    event.dataTransfer.effectAllowed = "move";
    event.dataTransfer.setData("text/plain", dragged.textContent);
  });
  document.addEventListener("dragend", () => { dragged = null; mark(null); });
  document.querySelectorAll("[data-day]:not(a)").forEach((place) => {
    place.addEventListener("dragover", (event) => {
      if (!accepts(place)) return;
      event.preventDefault();
      mark(place);
    });
    place.addEventListener("drop", (event) => {
      if (!accepts(place)) return;
      event.preventDefault();
      // A row is a quarter of an hour and 0.7rem high.
      const row = 0.7 * parseFloat(getComputedStyle(document.documentElement).fontSize);
      const minutes = place.classList.contains("column") ? 15 * Math.round((event.pageY - grabbedAt) / row) : 0;
      const days = dayNumber(place.dataset.day) - dayNumber(dragged.dataset.day);
      if (!days && !minutes) return;
      const link = new URL(dragged.href);
      form.action = link.pathname + "/move";
      form.elements.at.value = link.searchParams.get("at") || "";
      form.elements.days.value = days;
      form.elements.minutes.value = minutes;
      form.submit();
    });
  });
})();
