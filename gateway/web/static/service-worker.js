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

// The news about an alarm, encrypted for this browser. Each must be shown; one alarm is one notification.

self.addEventListener("push", (event) => {
  const { title, body, tag, lang, loud, url } = event.data.json();
  event.waitUntil(
    self.registration.showNotification(title, {
      body, tag, lang, data: { url },
      icon: "/static/icon-512.png",
      renotify: loud,
      requireInteraction: loud,
      silent: !loud,
      ...(loud && { vibrate: [800, 300, 800, 300, 800, 300, 800] }),
    }),
  );
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(openPage(event.notification.data.url));
});

async function openPage(url) {
  const [open] = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  if (!open) return self.clients.openWindow(url);
  return (await open.navigate(url).catch(() => self.clients.openWindow(url)))?.focus();
}
