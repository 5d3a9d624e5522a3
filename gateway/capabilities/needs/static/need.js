"use strict";
// The form for residents: a kiosk forgets what was typed; the way in for phones stays fresh.

const FRESH = 600_000; // a phone's pass lasts an hour

setInterval(() => {
  for (const image of document.querySelectorAll("img[data-fresh]")) image.src = `${image.dataset.fresh}?${Date.now()}`;
}, FRESH);

if (document.body.dataset.idle) {
  let idle;
  const forget = () => {
    for (const form of document.forms) {
      for (const field of form.elements) {
        if (["radio", "checkbox"].includes(field.type)) field.checked = false;
        else if (field.type !== "submit") field.value = "";
      }
    }
    location.replace("/need");
  };
  const stay = () => {
    clearTimeout(idle);
    idle = setTimeout(forget, Number(document.body.dataset.idle) * 1000);
  };
  for (const sign of ["pointerdown", "keydown", "input", "scroll"]) addEventListener(sign, stay, { passive: true });
  // A page that the browser kept would show the last person's words to the next one.
  addEventListener("pageshow", (event) => { if (event.persisted) forget(); });
  stay();
}

// A second click is one need all the same; this only spares the wait.
document.getElementById("register")?.addEventListener("submit", ({ target }) => {
  setTimeout(() => { target.querySelector("[type=submit]").disabled = true; });
});
