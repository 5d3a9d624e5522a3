"use strict";
// The form for residents, and the code for phones, which is renewed.

const QR_REFRESH_MS = 600_000; // a phone's pass lasts an hour

setInterval(() => {
  for (const image of document.querySelectorAll("img[data-fresh]")) image.src = `${image.dataset.fresh}?${Date.now()}`;
}, QR_REFRESH_MS);

// The server registers a form once; this only spares a second click the wait.
document.getElementById("register")?.addEventListener("submit", ({ target }) => {
  setTimeout(() => { for (const button of target.querySelectorAll("[type=submit]")) button.disabled = true; });
});
