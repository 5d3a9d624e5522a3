"use strict";
// Keeps the page up to date: the server sends regions of finished HTML, this puts them in place.

const $ = (id) => document.getElementById(id);
const { version, timezone, failed, late, sending, lost } = document.body.dataset;
const agoWords = JSON.parse(document.body.dataset.ago);
const SILENCE_TIMEOUT_MS = 8_000; // the stream sends a heartbeat at least every 3 s
const CALL_INTERVAL_MS = 5_000; // a tab that the shared stream does not hear is taken for closed
const ANSWER_TIMEOUT_MS = 3_000; // the shared stream answers every call
const POST_TIMEOUT_MS = 60_000; // a picture from a phone takes a while
const COMMAND_TIMEOUT_MS = 20_000; // the gateway executes no command that is older than 15 s

document.documentElement.classList.add("script");

// The gateway's clock counts, not this screen's.
let offset = Number(document.body.dataset.now) - Date.now();
const now = () => Date.now() + offset;

function ago(at) {
  const seconds = Math.max(0, Math.floor((now() - at) / 1000));
  const [unit, n] =
    seconds < 1 ? ["now", 0]
    : seconds < 60 ? ["seconds", seconds]
    : seconds < 3600 ? ["minutes", Math.floor(seconds / 60)]
    : seconds < 172800 ? ["hours", Math.floor(seconds / 3600)]
    : ["days", Math.floor(seconds / 86400)];
  return agoWords[unit].replace("{n}", n);
}

const clock = new Intl.DateTimeFormat(document.documentElement.lang, {
  hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: timezone,
});

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

let heading = document.title;

function updateTimes() {
  setText($("clock"), clock.format(now()));
  // A tab in the background shows by its flashing title that somebody is needed.
  const shown = dataIsOld ? `⚠ ${lost} · ${heading.replace("⚠ ", "")}` : heading;
  document.title = Math.floor(now() / 1000) % 2 ? shown.replace("⚠", "🔔") : shown;
  for (const time of document.querySelectorAll("time.ago")) setText(time, ago(Number(time.dataset.at)));
}

// What people have unfolded, what is being sent, where the focus is, and what their role may not do.
const userAttributes = new Set(["open", "aria-disabled", "tabindex", "data-forbidden", "data-label"]);

// Change only what differs, so that focus, selection and screen readers stay where they are.
function morph(old, fresh) {
  for (const { name, value } of fresh.attributes)
    if (old.getAttribute(name) !== value && !userAttributes.has(name)) old.setAttribute(name, value);
  for (const { name } of [...old.attributes])
    if (!fresh.hasAttribute(name) && !userAttributes.has(name)) old.removeAttribute(name);
  if (old.matches("time.ago")) return;
  morphChildren(old, fresh);
}

// What the role may not do is not offered; the server refuses it anyway.
const permitted = new Set(document.body.dataset.permitted.split(" "));
const roles = new Set(document.body.dataset.roles.split(" "));
const mayDo = ({ command, needs }) => permitted.has(JSON.parse(command).action) && (!needs || roles.has(needs));

function hideForbidden() {
  for (const node of document.querySelectorAll("[data-command^='{']"))
    node.toggleAttribute("data-forbidden", !mayDo(node.dataset));
  for (const node of document.querySelectorAll("details[data-command='']"))
    node.toggleAttribute("data-forbidden", !node.querySelector("[data-command^='{']:not([data-forbidden])"));
}

// On a phone a row of a table is a card, whose values need the names of their columns.
function labelCells() {
  for (const table of document.querySelectorAll("main table:has(thead)")) {
    const heads = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
    for (const body of table.tBodies)
      for (const row of body.rows)
        for (const cell of row.cells) cell.dataset.label = heads[cell.cellIndex] ?? "";
  }
}

const keyOf = (node) => (node.nodeType === 1 ? node.dataset.key : undefined);

function morphChildren(old, fresh) {
  const keyed = new Map([...old.children].filter(keyOf).map((child) => [keyOf(child), child]));
  let place = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const key = keyOf(child);
    let match = key ? keyed.get(key) : place;
    if (match && (match.nodeName !== child.nodeName || keyOf(match) !== key)) match = null;
    if (!match) {
      old.insertBefore(child, place);
      continue;
    }
    if (match === place) place = place.nextSibling;
    else old.insertBefore(match, place);
    if (child.nodeType === 1) morph(match, child);
    else if (match.nodeValue !== child.nodeValue) match.nodeValue = child.nodeValue;
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

const activeAlarms = () =>
  new Map([...document.querySelectorAll('[data-alarm="active"]')].map((row) => [row.dataset.key, row.dataset.say]));

function ancestors(node) {
  const found = [];
  for (let each = node?.parentElement; each; each = each.parentElement) found.push(each);
  return found;
}

// What had the focus has gone, perhaps by what it did: the row or section in which it was has it now.
function focusNear(around) {
  const place = around.find((node) => node.isConnected && node.matches("[data-key], section, main"));
  if (!place) return;
  if (!place.hasAttribute("tabindex")) place.tabIndex = -1;
  place.focus({ preventScroll: true });
}

function applyRegions({ title, site, regions }) {
  heading = title;
  const head = document.querySelector("header h1");
  if (head.textContent !== site) head.textContent = site;
  const before = activeAlarms();
  const focused = document.activeElement, around = ancestors(focused);
  for (const [id, html] of Object.entries(regions)) {
    const fresh = document.createElement("div");
    fresh.innerHTML = html; // rendered and escaped by the server
    morphChildren($(id), fresh);
  }
  hideForbidden();
  labelCells();
  if (focused?.isConnected === false) focusNear(around);
  const fresh = [...activeAlarms()].filter(([key]) => !before.has(key)).map(([, say]) => say);
  if (fresh.length) {
    // New nodes each time: the same alarm is told again when it comes again.
    $("announce").replaceChildren(...fresh.map((say) => Object.assign(document.createElement("p"), { textContent: say })));
    window.scrollTo({ top: 0, behavior: "smooth" });
    beep();
    if (speechIsOn) for (const say of fresh) speak(say);
  }
  updateTimes();
  rememberState();
}

// For the page that a phone shows while the gateway cannot be reached.
function rememberState() {
  const alarms = [...document.querySelectorAll("#alarms [data-alarm] h3")].map((each) => each.textContent.trim());
  localStorage.setItem("last-known", JSON.stringify({ at: now(), alarms }));
}

navigator.serviceWorker?.register("/service-worker.js").catch(() => {}); // not over plain HTTP
document.querySelector('form[action="/logout"]')?.addEventListener("submit", () => localStorage.removeItem("last-known"));

// Old data looks old, whatever has been lost: the network, the dashboard or the gateway behind it.

let streamIsLost = false, dataIsOld = false;

function showAge() {
  dataIsOld = streamIsLost || document.querySelector("[data-away]") !== null;
  $("lost").hidden = !streamIsLost;
  document.body.classList.toggle("old-data", dataIsOld);
  const icon = `/static/${dataIsOld ? "icon-lost" : "icon"}.svg`;
  const link = document.querySelector("link[rel=icon]");
  if (link.getAttribute("href") !== icon) link.setAttribute("href", icon);
  if (dataIsOld && Date.now() - lastLostBeepAt >= LOST_BEEP_INTERVAL_MS && beep(LOST_HZ)) lastLostBeepAt = Date.now();
  if (!dataIsOld) lastLostBeepAt = 0;
}

// The stream

let view = document.body.dataset.view;
let stream, lastEventAt = Date.now(), lastCallAt = 0;

// All tabs share one stream, by a worker; where there is none (phones), each has its own.
function connect() {
  stream ??= "SharedWorker" in window ? sharedStream() : new EventStream(receive);
  lastEventAt = lastCallAt = Date.now();
  stream.follow([view]);
}

// Nobody is told when a worker ends, and not always when it cannot start: one that does not answer is left for
// another.
function sharedStream() {
  let port, timer;

  function follow() {
    if (!port) {
      ({ port } = new SharedWorker(`/static/stream.js?v=${version}`));
      port.onmessage = ({ data }) => {
        timer = clearTimeout(timer);
        if (data.name !== "answer") receive(data);
      };
    }
    port.postMessage(view);
    timer ??= setTimeout(() => {
      close();
      follow();
    }, ANSWER_TIMEOUT_MS);
  }

  function close() {
    timer = clearTimeout(timer);
    port?.postMessage(null);
    port = undefined;
  }

  return { follow, close };
}

addEventListener("pagehide", () => stream.close());
addEventListener("pageshow", ({ persisted }) => { if (persisted) connect(); });

let onData = () => {};  // for the script of a page

function receive({ name, data, isEnded }) {
  if (name === "lost") return showDisconnected(isEnded);
  lastEventAt = Date.now();
  streamIsLost = false;
  offset = data.now - Date.now();
  for (const time of document.querySelectorAll(".last-word")) time.dataset.at = data.now;
  setText($("last-word-at"), clock.format(data.now));
  if (data.view === view) applyRegions(data);
  onData(data);
  showAge();
}

async function showDisconnected(isEnded) {
  streamIsLost = true;
  showAge();
  if (!isEnded) return; // the browser tries again by itself
  const answer = await fetch("/", { method: "HEAD" }).catch(() => null);
  if (answer?.status === 401) location.reload(); // signed out: ask for the key
  else setTimeout(connect, 3000);
}

function checkStream() {
  if (Date.now() - lastEventAt >= SILENCE_TIMEOUT_MS) {
    streamIsLost = true;
    connect();
  } else if (Date.now() - lastCallAt >= CALL_INTERVAL_MS) {
    lastCallAt = Date.now();
    stream.follow([view]);
  }
}

// Commands

let toastTimer;

function toast(text, kind) {
  clearTimeout(toastTimer);
  const box = $("toast");
  box.hidden = false;
  box.className = `toast ${kind}`;
  box.setAttribute("role", ["done", "busy", "accepted"].includes(kind) ? "status" : "alert");
  setText(box, text);
  if (kind !== "busy") toastTimer = setTimeout(() => { box.hidden = true; }, kind === "done" ? 6000 : 20000);
}

// The fields of a form are the rest of its command.
function requestBody(node) {
  const body = JSON.parse(node.dataset.command);
  for (const field of node.elements ?? [])
    if (field.name) body[field.name] = "number" in field.dataset ? Number(field.value) : field.value;
  return JSON.stringify(body);
}

async function send(node, button) {
  button.ariaDisabled = "true"; // a button that is `disabled` loses the focus
  toast(sending, "busy");
  try {
    const answer = await fetch("/command", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: requestBody(node),
      signal: AbortSignal.timeout(COMMAND_TIMEOUT_MS),
    });
    if (answer.status === 401) return location.reload();
    const { status, message, people } = await answer.json();
    if (status === "sign") {
      $("toast").hidden = true;
      if (await askForSignature(message, people)) send(node, button);
      return;
    }
    toast(message, status);
    if (node !== button && ["done", "accepted"].includes(status)) {
      node.reset();
      node.closest("details.aside")?.removeAttribute("open");
    }
  } catch (error) {
    if (error.name === "TimeoutError") toast(late, "unknown");
    else toast(failed, "failed");
  } finally {
    button.ariaDisabled = null;
  }
}

// What the script of a page sends to a route of its own. What needs the password again asks for it and is sent
// again: nothing on the page is lost. Returns the answer; null if somebody cancelled.
async function post(path, body, headers = {}) {
  for (;;) {
    const answer = await fetch(path, {
      method: "POST", body,
      headers: { ...headers, accept: "application/json" },
      signal: AbortSignal.timeout(POST_TIMEOUT_MS),
    });
    const { status, message, people } = answer.status === 403 ? await answer.clone().json() : {};
    if (status !== "sign") return answer;
    if (!(await askForSignature(message, people))) return null;
  }
}

// A form that is sent as a page: what it needs first is asked for here, so that nothing that was typed is lost.
// Whatever else the gateway has to say about it, it says on the page that follows.
const askedForms = new WeakSet();

document.addEventListener("submit", async (event) => {
  const { target: form, submitter } = event;
  if (event.defaultPrevented || form.getAttribute("method") !== "post" || !form.closest("main")) return;
  if (askedForms.delete(form)) return;
  event.preventDefault();
  const answer = await post(form.getAttribute("action") ?? location.href, "", { "linli-only-ask": "" }).catch(() => undefined);
  if (answer === null) return;
  askedForms.add(form);
  form.requestSubmit(submitter);
});

// The close event comes late: by then the dialog may be open for another question.
let answerDialog = () => {};

$("confirm").addEventListener("close", ({ currentTarget: dialog }) => {
  if (!dialog.open) answerDialog(dialog.returnValue === "yes");
});

function askForConfirmation({ confirm, more, yes }) {
  const dialog = $("confirm");
  answerDialog(false);
  setText($("confirm-text"), confirm);
  setText($("confirm-more"), more);
  setText($("confirm-yes"), yes);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => { answerDialog = resolve; });
}

// What can do harm needs the password again after a while; on a screen, people sign what they do.
let answerSignature = () => {};

$("sign").addEventListener("close", () => answerSignature(false));

function askForSignature(text, people) {
  const dialog = $("sign"), form = dialog.querySelector("form"), names = $("sign-name");
  answerSignature(false);
  setText($("sign-text"), text);
  $("sign-problem").hidden = true;
  names.replaceChildren(...people.map((name) => new Option(name, name, false, name === names.value)));
  dialog.querySelector(".signer").hidden = !people.length;
  form.secret.value = "";
  dialog.showModal();
  form.secret.focus();
  return new Promise((resolve) => { answerSignature = resolve; });
}

$("sign").addEventListener("click", ({ target: { dataset } }) => {
  const { secret } = $("sign").querySelector("form");
  if ("close" in dataset) $("sign").close();
  if ("digit" in dataset) secret.value = dataset.digit ? secret.value + dataset.digit : secret.value.slice(0, -1);
});

async function sign(fields) {
  const { secret } = $("sign").querySelector("form"), answerThis = answerSignature;
  try {
    const answer = await fetch("/sign", {
      method: "POST", body: new URLSearchParams(fields), signal: AbortSignal.timeout(COMMAND_TIMEOUT_MS),
    });
    if (answer.status === 401) return location.reload();
    const { status, message } = await answer.json();
    if (status === "done") {
      answerThis(true);
      return $("sign").close();
    }
    setText($("sign-problem"), message);
  } catch {
    setText($("sign-problem"), failed);
  }
  $("sign-problem").hidden = false;
  secret.value = "";
  secret.focus();
}

$("sign").addEventListener("submit", (event) => {
  event.preventDefault();
  sign(new FormData(event.target));
});

$("sign").querySelector("[data-show-passkey]")?.addEventListener("click", async ({ currentTarget: button }) => {
  try {
    sign({ passkey: await showPasskey("/sign/passkey") });
  } catch (error) {
    setText($("sign-problem"), passkeyProblem(error, button.dataset.cancelled));
    $("sign-problem").hidden = false;
  }
});

async function confirmAndSend(node, button) {
  if (button.ariaDisabled) return;
  if (!node.dataset.confirm || (await askForConfirmation(node.dataset))) send(node, button);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button && "print" in button.dataset) window.print();
  const isSecondOfTwo = event.detail > 1; // of a double click, which acts once
  if (button?.dataset.command && !isSecondOfTwo) confirmAndSend(button, button);
});

// What is chosen on a page is in its address; the stream then sends the page with that choice.
function choose(form, button) {
  const fields = [...new FormData(form, button)].filter(([, value]) => value.trim());
  const query = new URLSearchParams(fields).toString();
  const address = query ? `?${query}` : "";
  history.replaceState(null, "", location.pathname + address);
  for (const link of document.querySelectorAll("a[hreflang]")) link.search = `${address || "?"}${address && "&"}lang=${link.hreflang}`;
  view = `${view.split(/[?.]/)[0]}${address}.${view.split(".").pop()}`;
  connect();
}

const CHOICE_DELAY_MS = 150; // while somebody types
let choiceTimer;

function chooseSoon({ target }) {
  const form = target.closest("form[data-choice]");
  clearTimeout(choiceTimer);
  if (form) choiceTimer = setTimeout(() => choose(form), CHOICE_DELAY_MS);
}

document.addEventListener("input", chooseSoon);
document.addEventListener("change", chooseSoon);

document.addEventListener("submit", (event) => {
  const form = event.target;
  if ("choice" in form.dataset) {
    event.preventDefault();
    clearTimeout(choiceTimer);
    choose(form, event.submitter);
  }
  if (!form.dataset.command) return;
  event.preventDefault();
  confirmAndSend(form, event.submitter ?? form.querySelector("[type=submit]"));
});

// The sound: browsers allow it after a gesture only. The switches say whether it would be heard, and are
// remembered; a wall screen is allowed it by `--autoplay-policy=no-user-gesture-required`.

const BEEP_INTERVAL_MS = 5000, LOST_BEEP_INTERVAL_MS = 30_000;
const ALARM_HZ = 880, LOST_HZ = 392;
let sound = null, lastBeepAt = 0, lastLostBeepAt = 0, speechIsOn = false;
const soundIsOn = () => sound?.state === "running";

function beep(frequency = ALARM_HZ) {
  if (!soundIsOn()) return false;
  lastBeepAt = Date.now();
  for (const start of [0, 0.35, 0.7]) {
    const tone = sound.createOscillator(), volume = sound.createGain();
    tone.frequency.value = frequency;
    volume.gain.setValueAtTime(0.25, sound.currentTime + start);
    volume.gain.exponentialRampToValueAtTime(0.001, sound.currentTime + start + 0.3);
    tone.connect(volume).connect(sound.destination);
    tone.start(sound.currentTime + start);
    tone.stop(sound.currentTime + start + 0.3);
  }
  return true;
}

function speak(text) {
  const utterance = new SpeechSynthesisUtterance(text);
  utterance.lang = document.documentElement.lang;
  speechSynthesis.speak(utterance);
}

function setSwitch(id, on) {
  $(id).setAttribute("aria-pressed", String(on));
  setText($(id), on ? $(id).dataset.on : $(id).dataset.off);
}

function startSound() {
  if (!sound) {
    sound = new AudioContext();
    sound.onstatechange = () => setSwitch("sound", soundIsOn());
  }
  return sound.resume();
}

$("sound").addEventListener("click", async () => {
  if (soundIsOn()) {
    localStorage.removeItem("sound");
    await sound.suspend();
  } else {
    localStorage.setItem("sound", "on");
    await startSound();
    beep();
  }
});

$("speech").hidden = !("speechSynthesis" in window);
$("speech").addEventListener("click", ({ currentTarget: button }) => {
  speechIsOn = !speechIsOn;
  setSwitch("speech", speechIsOn);
  localStorage[speechIsOn ? "setItem" : "removeItem"]("speech", "on");
  if (speechIsOn) speak(button.dataset.on);
  else speechSynthesis.cancel();
});
speechIsOn = Boolean(localStorage.getItem("speech"));
setSwitch("speech", speechIsOn);

if (localStorage.getItem("sound") || document.body.classList.contains("kiosk")) {
  startSound();
  document.addEventListener("pointerdown", ({ target }) => {
    if (target !== $("sound")) startSound();
  }, { once: true });
}

hideForbidden();
labelCells();
updateTimes();
setInterval(() => {
  checkStream();
  showAge();
  updateTimes();
  if (document.querySelector("[data-sounds]") && Date.now() - lastBeepAt >= BEEP_INTERVAL_MS) beep();
}, 1000);
connect();
