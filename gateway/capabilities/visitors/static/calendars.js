"use strict";
// Imports a calendar; what stands in the way is named.

document.getElementById("import")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { target: form, submitter } = event;
  const { room, name, file, skip } = form.elements, result = document.getElementById("import-result");
  const query = new URLSearchParams({ room: room.value, name: name.value, ...(skip.checked ? { skip: "1" } : {}) });
  submitter.disabled = true;
  try {
    const answer = await post(`/calendars/import?${query}`, file.files[0]);
    if (!answer) return;
    const { message, problems } = await answer.json();
    const list = Object.assign(document.createElement("ul"), { className: "problems" });
    list.replaceChildren(...problems.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
    const head = Object.assign(document.createElement("p"), { textContent: message, className: answer.ok ? "" : "problem" });
    result.replaceChildren(head, ...(problems.length ? [list] : []));
  } catch {
    toast(document.body.dataset.failed, "failed");
  } finally {
    submitter.disabled = false;
  }
});
