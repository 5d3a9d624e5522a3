"use strict";
// Asks the browser for a passkey: to log in, to confirm an act, and for a new one on a person's own page.

const bytesOf = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (each) => each.charCodeAt(0));
const textOf = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const withBytes = (credentials = []) => credentials.map((each) => ({ ...each, id: bytesOf(each.id) }));

// What the gateway asks, or an Error with its sentence.
async function passkeyQuestion(path, fields = {}) {
  const answer = await fetch(path, {
    method: "POST", body: new URLSearchParams(fields), headers: { accept: "application/json" },
  });
  const question = await answer.json();
  if (!answer.ok || !question.publicKey) throw new Error(question.message);
  return question.publicKey;
}

function passkeyAnswer({ id, type, response }, ...fields) {
  const found = fields.map((field) => [field, response[field] && textOf(response[field])]);
  return JSON.stringify({ id, rawId: id, type, response: Object.fromEntries(found.filter(([, text]) => text)) });
}

async function showPasskey(path) {
  const asked = await passkeyQuestion(path);
  const publicKey = { ...asked, challenge: bytesOf(asked.challenge), allowCredentials: withBytes(asked.allowCredentials) };
  const found = await navigator.credentials.get({ publicKey });
  return passkeyAnswer(found, "clientDataJSON", "authenticatorData", "signature", "userHandle");
}

async function newPasskey(path, fields) {
  const asked = await passkeyQuestion(path, fields);
  const publicKey = {
    ...asked, challenge: bytesOf(asked.challenge), excludeCredentials: withBytes(asked.excludeCredentials),
    user: { ...asked.user, id: bytesOf(asked.user.id) },
  };
  const made = await navigator.credentials.create({ publicKey });
  return passkeyAnswer(made, "clientDataJSON", "attestationObject");
}

// The sentence for a person: what the gateway says, or that the browser's own dialog was left.
const passkeyProblem = (error, cancelled) => (error instanceof DOMException || !error.message ? cancelled : error.message);

for (const button of document.querySelectorAll("form[method=post] [data-passkey]")) {
  button.hidden = !window.PublicKeyCredential;
  button.addEventListener("click", async () => {
    const { form } = button;
    try {
      const answer = await showPasskey(button.dataset.passkey);
      form.append(Object.assign(document.createElement("input"), { type: "hidden", name: "passkey", value: answer }));
      form.submit();
    } catch (error) {
      let problem = document.getElementById("problem");
      if (!problem) form.prepend(problem = Object.assign(document.createElement("p"), { id: "problem", className: "problem", role: "alert" }));
      problem.textContent = passkeyProblem(error, button.dataset.cancelled);
    }
  });
}

{
  const form = document.getElementById("passkey-form"), problem = document.getElementById("passkey-problem");

  function tell(text) {
    problem.textContent = text;
    problem.hidden = false;
  }

  if (form && !window.PublicKeyCredential) tell(problem.dataset.unsupported);
  form?.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.hidden = true;
    const name = form.elements.name.value;
    try {
      const made = await newPasskey("/account/passkey", { secret: form.secret.value });
      const answer = await fetch("/account/passkey", {
        method: "POST", body: new URLSearchParams({ name, answer: made }), headers: { accept: "application/json" },
      });
      if (answer.ok) location.assign("/account?done=passkey-added");
      else tell((await answer.json()).message);
    } catch (error) {
      tell(passkeyProblem(error, form.dataset.cancelled));
    }
  });
}
