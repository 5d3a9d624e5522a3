"use strict";
// What the last page knew, with its time: it may be different now.

const known = JSON.parse(localStorage.getItem("last-known") ?? "null");
if (known) {
  document.getElementById("known").hidden = false;
  document.getElementById("known-at").textContent = new Date(known.at).toLocaleString(document.documentElement.lang);
  const list = document.getElementById("known-alarms");
  for (const alarm of known.alarms) {
    const item = document.createElement("li");
    item.textContent = alarm;
    list.append(item);
  }
  document.getElementById("known-none").hidden = known.alarms.length > 0;
}
document.getElementById("again").addEventListener("click", () => location.reload());
