"use strict";
// Uploads the picture of a floor, and places devices on it: choose one, then touch its place.

const edit = document.getElementById("plan-edit");
const drawing = document.getElementById("drawing");
const places = document.getElementById("places-form");
const SVG = "http://www.w3.org/2000/svg";

async function send(path, body) {
  try {
    const answer = await post(`/plan/${edit.dataset.floor}/${path}?digest=${edit.dataset.digest}`, body);
    if (answer) toast((await answer.json()).message, answer.ok ? "done" : "failed");
    return answer?.ok;
  } catch {
    toast(document.body.dataset.failed, "failed");
    return false;
  }
}

document.getElementById("picture-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (await send("picture", document.getElementById("picture").files[0])) location.reload();
});

const field = (axis, device) => places.elements[`${axis}.${device}`];
const devices = () => [...places.querySelectorAll("[name=device]")].map((each) => each.value);

function draw() {
  drawing.querySelectorAll("g").forEach((each) => each.remove());
  const { width, height } = drawing.viewBox.baseVal;
  for (const device of devices()) {
    const x = field("x", device).value, y = field("y", device).value;
    if (x === "" || y === "") continue;
    const marker = document.createElementNS(SVG, "g");
    const chosen = places.elements.device.value === device;
    marker.setAttribute("class", chosen ? "marker chosen" : "marker");
    marker.setAttribute("transform", `translate(${(x / 100) * width} ${(y / 100) * height})`);
    const circle = document.createElementNS(SVG, "circle");
    circle.setAttribute("r", 12);
    const text = document.createElementNS(SVG, "text");
    text.setAttribute("y", 32);
    text.textContent = places.querySelector(`[value="${CSS.escape(device)}"]`).parentNode.firstChild.nextSibling.textContent.trim();
    marker.append(circle, text);
    drawing.append(marker);
  }
}

if (drawing) {
  drawing.addEventListener("click", (event) => {
    const device = places.elements.device.value;
    if (!device) return;
    const box = drawing.getBoundingClientRect();
    const percent = (part, whole) => Math.round(Math.min(1, Math.max(0, part / whole)) * 10000) / 100;
    field("x", device).value = percent(event.clientX - box.left, box.width);
    field("y", device).value = percent(event.clientY - box.top, box.height);
    draw();
  });
  places.addEventListener("input", draw);
  places.addEventListener("submit", async (event) => {
    event.preventDefault();
    const given = {};
    for (const device of devices()) {
      const x = field("x", device).value, y = field("y", device).value;
      if (x !== "" && y !== "") given[device] = [x / 100, y / 100];
    }
    if (await send("places", JSON.stringify(given))) location.href = "/plan";
  });
  draw();
}
