"use strict";
// The stream of events from the dashboard. All tabs of a browser share one, by this file as a worker: browsers
// open only six connections to a server, and a stream in each tab would leave none for the seventh. Where there
// are no shared workers (phones), a page loads this file and has a stream of its own.
// It is one file: were a second one to be imported, a worker whose first page goes away meanwhile would be left
// without it, and every later page would wait for that worker in vain.

const STREAM_TIMEOUT_MS = 8_000; // a heartbeat comes at least every 3 s
const TAB_TIMEOUT_MS = 150_000; // tabs call every 5 s, those in the background every minute

// A region is its whole HTML, or what has changed in its lines: [at, count, fresh lines], the first first.
function changedLines(lines, change) {
  if (typeof change === "string") return change.split("\n");
  const pieces = [];
  let next = 0;
  for (const [at, count, fresh] of change) {
    pieces.push(lines.slice(next, at), fresh);
    next = at + count;
  }
  return pieces.concat([lines.slice(next)]).flat();
}

class EventStream {
  constructor(receive) {
    this.receive = receive;
  }

  // Follow these views (`page.language`), unless it does so already and is alive.
  follow(views) {
    const url = `/events?${new URLSearchParams(views.map((view) => ["view", view]))}`;
    const isAlive = this.source && this.source.readyState !== EventSource.CLOSED && Date.now() - this.lastEventAt < STREAM_TIMEOUT_MS;
    if (isAlive && url === this.url) return;
    this.source?.close();
    const source = new EventSource(url);
    Object.assign(this, { url, source, lastEventAt: Date.now() });
    const linesOf = new Map(); // by region: its lines
    for (const name of ["view", "beat"])
      source.addEventListener(name, (event) => {
        this.lastEventAt = Date.now();
        const data = JSON.parse(event.data);
        for (const [region, change] of Object.entries(data.regions ?? {})) {
          const key = `${data.view} ${region}`, lines = changedLines(linesOf.get(key), change);
          linesOf.set(key, lines);
          data.regions[region] = lines.join("\n");
        }
        this.receive({ name, data });
      });
    // Somebody has ended the session: to try again would only be refused.
    source.addEventListener("ended", () => {
      source.close();
      this.receive({ name: "lost", isEnded: true });
    });
    source.onerror = () => this.receive({ name: "lost", isEnded: source.readyState === EventSource.CLOSED });
  }

  close() {
    this.source?.close();
    this.url = undefined;
  }
}

function serveTabs() {
  const tabs = new Map(); // by port: what the tab shows, and when it last called
  const stream = new EventStream((message) => {
    for (const port of tabs.keys()) port.postMessage(message);
  });

  function follow(port, view) {
    const isNew = view && tabs.get(port)?.view !== view;
    if (view) tabs.set(port, { view, at: Date.now() });
    else tabs.delete(port);
    for (const [each, { at }] of tabs) if (Date.now() - at > TAB_TIMEOUT_MS) tabs.delete(each);
    if (isNew) stream.close(); // a new tab needs all regions
    if (tabs.size) stream.follow([...new Set([...tabs.values()].map((tab) => tab.view))].sort());
    else stream.close();
  }

  self.onconnect = ({ ports: [port] }) => {
    port.onmessage = ({ data: view }) => {
      port.postMessage({ name: "answer" });
      follow(port, view);
    };
  };
}

if ("SharedWorkerGlobalScope" in self) serveTabs();
