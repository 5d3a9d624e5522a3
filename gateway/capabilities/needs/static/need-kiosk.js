"use strict";
// The kiosk: one question a screen. It forgets everything when nobody touches it, and leaves nothing in the
// history: what the server answers takes the place of the page.

const STILL_THERE_MS = 20_000; // before it forgets, it asks
const START = "/need?lang=zh";

const screens = () => [...document.querySelectorAll(".screen")];
const shownScreen = () => screens().find((screen) => !screen.hidden) ?? document.querySelector("main");

function show(name) {
  if (!document.getElementById(`screen-${name}`)) return;
  window.speechSynthesis?.cancel();
  for (const screen of screens()) screen.hidden = screen.id !== `screen-${name}`;
  for (const button of document.querySelectorAll("[name=show]")) button.value = name;
  const heading = shownScreen().querySelector("h1");
  heading.tabIndex = -1;
  heading.focus();
  scrollTo(0, 0);
}

// What was typed goes with its page; the browser keeps no copy of a page that was not left.
let lastAnswer = null; // what was sent, to be shown again in the other language: it is registered once only

async function replacePage(address, options) {
  let text;
  document.getElementById("away").hidden = true;
  try {
    text = await (await fetch(address, options)).text();
  } catch {
    document.getElementById("away").hidden = false;
    return;
  }
  lastAnswer = options ?? null;
  const fresh = new DOMParser().parseFromString(text, "text/html");
  document.documentElement.lang = fresh.documentElement.lang;
  document.title = fresh.title;
  document.body.replaceWith(fresh.body);
  start();
}

function forget() {
  window.speechSynthesis?.cancel();
  for (const form of document.forms) form.reset();
  for (const field of document.querySelectorAll("input:not([type=radio], [type=checkbox]), textarea")) field.value = "";
  for (const field of document.querySelectorAll(":checked")) field.checked = false;
  lastAnswer = null;
  document.getElementById("still").close();
  show("start");
  // A kiosk that loaded a page which cannot be reached would stay with the browser's error.
  fetch(START).then(() => location.replace(START), () => restartIdleTimer());
}

// Nobody there?

let warningTimer, idleTimer;

function restartIdleTimer() {
  clearTimeout(warningTimer);
  clearTimeout(idleTimer);
  const idleMs = Number(document.body.dataset.idle) * 1000;
  warningTimer = setTimeout(() => {
    const dialog = document.getElementById("still");
    if (!dialog.open) dialog.showModal();
  }, idleMs - STILL_THERE_MS);
  idleTimer = setTimeout(forget, idleMs);
}

for (const sign of ["pointerdown", "keydown", "input", "scroll"])
  addEventListener(sign, restartIdleTimer, { passive: true });

// A page that the browser kept would show the last person's words to the next one.
addEventListener("pageshow", (event) => { if (event.persisted) forget(); });

// Reading aloud, where the browser has a voice of its own: what is said must not leave the kiosk.

function localVoice() {
  const language = document.documentElement.lang.slice(0, 2);
  return window.speechSynthesis?.getVoices().find((voice) => voice.localService && voice.lang.toLowerCase().startsWith(language));
}

function offerSpeech() {
  for (const button of document.querySelectorAll("[data-speak]")) button.hidden = !localVoice();
}

function speakScreen() {
  const said = new SpeechSynthesisUtterance(spokenText(shownScreen()));
  said.voice = localVoice();
  said.lang = said.voice.lang;
  said.rate = document.body.classList.contains("elder") ? 0.8 : 0.95;
  speechSynthesis.cancel();
  speechSynthesis.speak(said);
}

// Not what was typed, which others may hear; a number digit by digit.
function spokenText(screen) {
  const parts = screen.querySelectorAll("h1, h2, li, p:not(.steps), .choice, label:not(.choice), summary");
  return [...parts].map((part) => part.innerText.trim()).filter(Boolean)
    .map((text) => text.replace(/\d{4} \d{4}/g, (number) => [...number].join(" "))).join("。\n");
}

window.speechSynthesis?.addEventListener("voiceschanged", offerSpeech);

// Touches

function typeDigit({ type, field }) {
  const input = document.getElementById(field);
  if (type === "clear") input.value = "";
  else if (type === "back") input.value = input.value.slice(0, -1);
  else if (input.value.length < input.maxLength) input.value += type;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button, a");
  if (!button) return;
  if (button.matches("a")) {
    event.preventDefault();
    replacePage(button.href, (button.hreflang && lastAnswer) || undefined);
  }
  const { go, type, phrase, speak, still } = button.dataset;
  if (go) show(go);
  if (type) typeDigit(button.dataset);
  if (phrase !== undefined) document.getElementById("text").value = button.innerText;
  if (phrase !== undefined) show("contact");
  if (speak !== undefined) speakScreen();
  if (still !== undefined) document.getElementById("still").close();
});

document.addEventListener("change", ({ target }) => {
  if (target.matches("input[data-go]")) show(target.dataset.go);
});

document.addEventListener("submit", (event) => {
  event.preventDefault();
  const { target: form, submitter } = event;
  const address = submitter?.getAttribute("formaction") ?? form.getAttribute("action");
  replacePage(address, { method: "POST", body: new URLSearchParams(new FormData(form, submitter)) });
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !event.target.matches("#register input")) return;
  event.preventDefault();
  shownScreen().querySelector(".steps .primary")?.click();
});

document.addEventListener("contextmenu", (event) => event.preventDefault());

function start() {
  document.documentElement.classList.add("script");
  const form = document.getElementById("register");
  if (form) show(form.dataset.screen);
  offerSpeech();
  restartIdleTimer();
}

start();
