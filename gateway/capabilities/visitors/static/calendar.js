"use strict";
// The calendar of bookings: the arrow keys move over it, and a free half hour opens the form.

function calendarCells() {
  return [...document.querySelectorAll(".calendar :is(td.free button, td.booked a)")];
}

// One cell is in the order of the tab key, the others are reached by the arrows.
function prepareCalendar() {
  const cells = calendarCells();
  const current = cells.find((cell) => cell === document.activeElement) ?? cells.find((cell) => cell.tabIndex === 0) ?? cells[0];
  for (const cell of cells) {
    const tabIndex = cell === current ? "0" : "-1";
    if (cell.getAttribute("tabindex") !== tabIndex) cell.setAttribute("tabindex", tabIndex);
  }
}

// The nearest cell in a direction, by where it is on the screen: bookings are as high as they last.
function neighbour(from, key) {
  const here = from.getBoundingClientRect();
  const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
  let best = null, bestDistance = Infinity;
  for (const cell of calendarCells()) {
    const there = cell.getBoundingClientRect();
    const across = x ? there.left + there.width / 2 - here.left - here.width / 2 : there.top - here.top;
    const along = x ? there.top - here.top : there.left + there.width / 2 - here.left - here.width / 2;
    const ahead = across * (x || y);
    if (cell === from || ahead < 4) continue;
    const distance = ahead + 4 * Math.abs(along);
    if (distance < bestDistance) [best, bestDistance] = [cell, distance];
  }
  return best;
}

function fillBooking({ day, time, room }) {
  const aside = document.querySelector("#calendar details[data-key=book]");
  const form = aside?.querySelector("form");
  if (!form || aside.hasAttribute("data-forbidden")) return;
  aside.open = true;
  form.elements.day.value = day;
  form.elements.from.value = time;
  const [hour, minute] = time.split(":");
  form.elements.until.value = `${String((Number(hour) + 1) % 24).padStart(2, "0")}:${minute}`;
  if (Number(hour) === 23) form.elements.until.value = "00:00";
  if (room && form.elements.room) form.elements.room.value = room;
  form.elements.title.focus();
  form.scrollIntoView({ block: "center" });
}

const calendarRegion = document.getElementById("calendar");

if (calendarRegion) {
  calendarRegion.addEventListener("keydown", (event) => {
    const cell = event.target.closest(".calendar :is(td.free button, td.booked a)");
    if (!cell || !event.key.startsWith("Arrow")) return;
    const next = neighbour(cell, event.key);
    if (next) [cell.tabIndex, next.tabIndex] = [-1, 0];
    next?.focus();
    event.preventDefault();
  });
  calendarRegion.addEventListener("click", (event) => {
    const cell = event.target.closest(".calendar td.free button");
    if (cell) fillBooking(cell.dataset);
  });
  // The stream replaces cells, and the attributes of those that stay.
  new MutationObserver(prepareCalendar).observe(calendarRegion, {
    childList: true, subtree: true, attributes: true, attributeFilter: ["tabindex"],
  });
  prepareCalendar();
}
