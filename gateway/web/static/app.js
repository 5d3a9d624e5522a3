"use strict";
// Keeps the page true: the server sends regions of finished HTML, this puts them in place.

const $ = (id) => document.getElementById(id);
const { events, timezone, failed, sending } = document.body.dataset;
const agoWords = JSON.parse(document.body.dataset.ago);
const SILENCE = 40_000; // the stream says something at least every 15 s

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

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

let heading = document.title;

function tick() {
  write($("clock"), clock.format(now()));
  // A tab in the background shows by its flashing title that somebody is needed.
  document.title = Math.floor(now() / 1000) % 2 ? heading.replace("⚠", "🔔") : heading;
  for (const time of document.querySelectorAll("time.ago")) write(time, ago(Number(time.dataset.at)));
}

const theirs = new Set(["open", "disabled"]); // what people have unfolded, and what is being sent

// Change only what differs, so that focus, selection and screen readers stay where they are.
function morph(old, fresh) {
  for (const { name, value } of fresh.attributes)
    if (old.getAttribute(name) !== value && !theirs.has(name)) old.setAttribute(name, value);
  for (const { name } of [...old.attributes])
    if (!fresh.hasAttribute(name) && !theirs.has(name)) old.removeAttribute(name);
  if (old.matches("time.ago")) return;
  morphChildren(old, fresh);
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

const ringing = () =>
  new Map([...document.querySelectorAll('[data-alarm="active"]')].map((row) => [row.dataset.key, row.dataset.say]));

function show({ now: time, title, regions }) {
  offset = time - Date.now();
  heading = title;
  const before = ringing();
  const focused = document.activeElement;
  for (const [id, html] of Object.entries(regions)) {
    const fresh = document.createElement("div");
    fresh.innerHTML = html; // rendered and escaped by the server
    morphChildren($(id), fresh);
  }
  if (focused && focused !== document.body && !focused.isConnected)
    document.querySelector("main section[tabindex]")?.focus();
  const fresh = [...ringing()].filter(([key]) => !before.has(key)).map(([, say]) => say);
  if (fresh.length) {
    write($("announce"), fresh.join(" "));
    window.scrollTo({ top: 0, behavior: "smooth" });
    beep();
    if (speaks) for (const say of fresh) speak(say);
  }
  tick();
}

// The stream

let source, heard = Date.now();

function connect() {
  source?.close();
  heard = Date.now();
  source = new EventSource(events);
  const listen = (name, work) =>
    source.addEventListener(name, (event) => {
      heard = Date.now();
      $("lost").hidden = true;
      work(JSON.parse(event.data));
    });
  listen("view", show);
  listen("beat", ({ now: time }) => { offset = time - Date.now(); });
  source.onerror = lost;
}

async function lost() {
  $("lost").hidden = false;
  if (source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
  const answer = await fetch("/", { method: "HEAD" }).catch(() => null);
  if (answer?.status === 401) location.reload(); // signed out: ask for the key
  else setTimeout(connect, 3000);
}

function watch() {
  if (Date.now() - heard < SILENCE) return;
  $("lost").hidden = false;
  connect();
}

// Commands

let hide;

function toast(text, kind) {
  clearTimeout(hide);
  const box = $("toast");
  box.hidden = false;
  box.className = `toast ${kind}`;
  box.setAttribute("role", ["done", "busy", "accepted"].includes(kind) ? "status" : "alert");
  write(box, text);
  if (kind !== "busy") hide = setTimeout(() => { box.hidden = true; }, kind === "done" ? 6000 : 20000);
}

// The fields of a form are the rest of its command.
function wish(node) {
  const said = JSON.parse(node.dataset.command);
  for (const field of node.elements ?? [])
    if (field.name) said[field.name] = "number" in field.dataset ? Number(field.value) : field.value;
  return JSON.stringify(said);
}

async function send(node, button) {
  button.disabled = true;
  toast(sending, "busy");
  try {
    const answer = await fetch("/command", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: wish(node),
    });
    if (answer.status === 401) return location.reload();
    const { status, message } = await answer.json();
    toast(message, status);
    if (node !== button && ["done", "accepted"].includes(status)) {
      node.reset();
      node.closest("details.aside")?.removeAttribute("open");
    }
  } catch {
    toast(failed, "failed");
  } finally {
    button.disabled = false;
  }
}

// The dialog tells late that it was closed: by then it may be open for another question.
let settle = () => {};

$("confirm").addEventListener("close", ({ currentTarget: dialog }) => {
  if (!dialog.open) settle(dialog.returnValue === "yes");
});

function confirmed({ confirm, more, yes }) {
  const dialog = $("confirm");
  settle(false);
  write($("confirm-text"), confirm);
  write($("confirm-more"), more);
  write($("confirm-yes"), yes);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => { settle = resolve; });
}

async function ask(node, button) {
  if (button.disabled) return;
  if (!node.dataset.confirm || (await confirmed(node.dataset))) send(node, button);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button && "print" in button.dataset) window.print();
  if (button?.dataset.command) ask(button, button);
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.dataset.command) return;
  event.preventDefault();
  ask(form, event.submitter ?? form.querySelector("[type=submit]"));
});

// The sound: browsers allow it after a gesture only. The switches say whether it would be heard, and are
// remembered; a wall screen is allowed it by `--autoplay-policy=no-user-gesture-required`.

const AGAIN = 5000;
let sound = null, beeped = 0, speaks = false;
const heardNow = () => sound?.state === "running";

function beep() {
  if (!heardNow()) return;
  beeped = Date.now();
  for (const start of [0, 0.35, 0.7]) {
    const tone = sound.createOscillator(), volume = sound.createGain();
    tone.frequency.value = 880;
    volume.gain.setValueAtTime(0.25, sound.currentTime + start);
    volume.gain.exponentialRampToValueAtTime(0.001, sound.currentTime + start + 0.3);
    tone.connect(volume).connect(sound.destination);
    tone.start(sound.currentTime + start);
    tone.stop(sound.currentTime + start + 0.3);
  }
}

function speak(text) {
  const said = new SpeechSynthesisUtterance(text);
  said.lang = document.documentElement.lang;
  speechSynthesis.speak(said);
}

function press(id, on) {
  $(id).setAttribute("aria-pressed", String(on));
  write($(id), on ? $(id).dataset.on : $(id).dataset.off);
}

function sounding() {
  if (!sound) {
    sound = new AudioContext();
    sound.onstatechange = () => press("sound", heardNow());
  }
  return sound.resume();
}

$("sound").addEventListener("click", async () => {
  if (heardNow()) {
    localStorage.removeItem("sound");
    await sound.suspend();
  } else {
    localStorage.setItem("sound", "on");
    await sounding();
    beep();
  }
});

$("speech").hidden = !("speechSynthesis" in window);
$("speech").addEventListener("click", ({ currentTarget: button }) => {
  speaks = !speaks;
  press("speech", speaks);
  localStorage[speaks ? "setItem" : "removeItem"]("speech", "on");
  if (speaks) speak(button.dataset.on);
  else speechSynthesis.cancel();
});
speaks = Boolean(localStorage.getItem("speech"));
press("speech", speaks);

if (localStorage.getItem("sound") || document.body.classList.contains("kiosk")) {
  sounding();
  document.addEventListener("pointerdown", ({ target }) => {
    if (target !== $("sound")) sounding();
  }, { once: true });
}

tick();
setInterval(() => {
  tick();
  watch();
  if (document.querySelector("[data-sounds]") && Date.now() - beeped >= AGAIN) beep();
}, 1000);
connect();
