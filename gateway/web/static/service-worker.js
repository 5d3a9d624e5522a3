"use strict";
// While the gateway cannot be reached, a page that says so and what was known last. Nothing else is kept: an
// old page must not look like a new one.

const STORE = "linli-offline-1";
const OFFLINE_PAGE = "/offline";
const KEPT = [OFFLINE_PAGE, "/static/style.css", "/static/offline.js", "/static/icon.svg"];

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(STORE).then((store) => store.addAll(KEPT)));
  self.skipWaiting();
});

self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const path = new URL(request.url).pathname;
  if (request.mode === "navigate") event.respondWith(fetch(request).catch(() => caches.match(OFFLINE_PAGE)));
  else if (KEPT.includes(path)) event.respondWith(fetch(request).catch(() => caches.match(path)));
});
