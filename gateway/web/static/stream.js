"use strict";
// The worker that all tabs share: browsers open only six connections to a server, and a stream in each tab
// would leave none for the seventh.

importScripts("/static/event-stream.js");

const viewOf = new Map(); // what each tab shows
const stream = new EventStream((message) => {
  for (const port of viewOf.keys()) port.postMessage(message);
});

onconnect = ({ ports: [port] }) => {
  port.onmessage = ({ data: view }) => {
    const isNew = view && viewOf.get(port) !== view;
    if (view) viewOf.set(port, view);
    else viewOf.delete(port);
    if (isNew) stream.close(); // a new tab needs all regions
    if (viewOf.size) stream.follow([...new Set(viewOf.values())].sort());
    else stream.close();
  };
};
