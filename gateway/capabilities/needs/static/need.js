"use strict";
// The form for residents: an idle kiosk clears what was typed; the code for phones is renewed.

const QR_REFRESH_MS = 600_000; // a phone's pass lasts an hour

setInterval(() => {
  for (const image of document.querySelectorAll("img[data-fresh]")) image.src = `${image.dataset.fresh}?${Date.now()}`;
}, QR_REFRESH_MS);

if (document.body.dataset.idle) {
  let idleTimer;
  const clearForm = () => {
    for (const form of document.forms) {
      for (const field of form.elements) {
        if (["radio", "checkbox"].includes(field.type)) field.checked = false;
        else if (field.type !== "submit") field.value = "";
      }
    }
    location.replace("/need");
  };
  const restartIdleTimer = () => {
    clearTimeout(idleTimer);
    idleTimer = setTimeout(clearForm, Number(document.body.dataset.idle) * 1000);
  };
  for (const sign of ["pointerdown", "keydown", "input", "scroll"]) addEventListener(sign, restartIdleTimer, { passive: true });
  // A page that the browser kept would show the last person's words to the next one.
  addEventListener("pageshow", (event) => { if (event.persisted) clearForm(); });
  restartIdleTimer();
}

// The server registers a form once; this only spares a second click the wait.
document.getElementById("register")?.addEventListener("submit", ({ target }) => {
  setTimeout(() => { target.querySelector("[type=submit]").disabled = true; });
});
