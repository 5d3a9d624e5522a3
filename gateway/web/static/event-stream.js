"use strict";
// The stream of events from the dashboard, for one or several pages.

const STREAM_TIMEOUT_MS = 8_000; // a heartbeat comes at least every 3 s

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
    for (const name of ["view", "beat"])
      source.addEventListener(name, (event) => {
        this.lastEventAt = Date.now();
        this.receive({ name, data: JSON.parse(event.data) });
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
