"use strict";
// The screen on the wall: no keyboard, no scrolling, nobody to reload it.

const NIGHT_HOURS = [22, 6];
const SHIFT_INTERVAL_MS = 180_000; // by some pixels, so that no edge burns in
const SHIFT_PX = 4;
const STUCK_MS = 60_000; // after which a page that still hears nothing is loaded again
const [SMALLEST, LARGEST] = [0.45, 1.3]; // of the size of type, before lists are cut

// Everything fits: first by smaller type, then by lists that say how much they leave out.

const overflows = (node) => node.scrollHeight > node.clientHeight + 1 || node.scrollWidth > node.clientWidth + 1;

function shrink(node) {
  for (let size = LARGEST; ; size -= 0.05) {
    node.style.fontSize = `${size}em`;
    if (size <= SMALLEST || ![node, ...node.children].some(overflows)) return;
  }
}

// What is done leaves the list first, then what comes last.
function trim(list) {
  const items = [...list.children];
  for (const item of items) item.hidden = false;
  delete list.dataset.left;
  const leaving = [...items.filter((item) => item.matches(".done")), ...items.filter((item) => !item.matches(".done")).reverse()];
  let n = 0;
  while (overflows(list) && leaving.length) {
    leaving.shift().hidden = true;
    list.dataset.left = list.dataset.trim.replace("{n}", ++n);
  }
}

// As many columns as make the cells of a board as large as its place allows.
function layOut(board) {
  const count = board.children.length, { clientWidth: width, clientHeight: height } = board;
  let columns = 1;
  while (columns < count && Math.ceil(count / columns) * (width / columns) > height) columns += 1;
  const rows = Math.ceil(count / columns);
  board.style.setProperty("--columns", columns);
  board.style.setProperty("--rows", rows);
}

function fit() {
  for (const board of document.querySelectorAll(".board")) layOut(board);
  for (const node of document.querySelectorAll("[data-shrink]")) shrink(node);
  for (const list of document.querySelectorAll("[data-trim]")) trim(list);
  changes.takeRecords();
}

const OVERRIDES = ".takeover, [data-alarm=active]"; // what is never dimmed
const isClock = ({ target }) => target.nodeType === 1 && target.matches("time");
const changes = new MutationObserver((records) => { if (!records.every(isClock)) fit(); });
changes.observe(document.querySelector("main"), { subtree: true, childList: true, characterData: true, attributes: true });
addEventListener("resize", fit);
document.fonts.ready.then(fit);

// The night is dark; an alarm is not.

const date = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "full", timeZone: timezone });
const hour = new Intl.DateTimeFormat("en", { hour: "numeric", hourCycle: "h23", timeZone: timezone });

function followTime() {
  setText($("date"), date.format(now()));
  const at = Number(hour.format(now())), isNight = at >= NIGHT_HOURS[0] || at < NIGHT_HOURS[1];
  document.body.classList.toggle("night", isNight && !dataIsOld && !document.querySelector(OVERRIDES));
  const step = Math.floor(now() / SHIFT_INTERVAL_MS) % 8;
  const angle = (step * Math.PI) / 4;
  document.body.style.setProperty("--right", `${Math.round(SHIFT_PX * Math.cos(angle))}px`);
  document.body.style.setProperty("--down", `${Math.round(SHIFT_PX * Math.sin(angle))}px`);
}

// It comes back by itself, and takes a new version when the gateway has one.

let lastHeardAt = Date.now();

onData = ({ version }) => {
  lastHeardAt = Date.now();
  if (version !== document.body.dataset.version) location.reload();
};

async function recover() {
  if (Date.now() - lastHeardAt < STUCK_MS) return;
  const answer = await fetch("/?kiosk", { method: "HEAD", signal: AbortSignal.timeout(STUCK_MS) }).catch(() => null);
  if (answer) location.reload();
}

// The screen stays on; browsers allow it where the connection is secure.
const stayOn = () => { if (!document.hidden) navigator.wakeLock?.request("screen").catch(() => {}); };
document.addEventListener("visibilitychange", stayOn);
stayOn();

// A pointer that nobody moves is hidden.
let pointerTimer;
document.addEventListener("pointermove", () => {
  document.body.classList.add("touched");
  clearTimeout(pointerTimer);
  pointerTimer = setTimeout(() => document.body.classList.remove("touched"), 5000);
});

followTime();
fit();
setInterval(followTime, 1000);
setInterval(recover, STUCK_MS);
