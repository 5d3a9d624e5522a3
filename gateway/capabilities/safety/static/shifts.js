"use strict";
// On a shared screen, the PIN is asked for on a page of its own: what was written waits in this tab.

for (const form of document.querySelectorAll(":is(#shifts, #shift) form")) {
  const field = form.elements.text;
  if (!field) continue;
  const key = `shift ${location.pathname} ${form.elements.step.value}`;
  if (new URLSearchParams(location.search).has("done")) sessionStorage.removeItem(key);
  field.value ||= sessionStorage.getItem(key) ?? "";
  form.addEventListener("submit", () => sessionStorage.setItem(key, field.value));
}
