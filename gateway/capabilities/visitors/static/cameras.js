"use strict";
// Draws a counting line or a zone on a camera's still, and says it in TOML. Nothing drawn here is sent.
{
  const at = (id) => document.getElementById(`tune-${id}`);
  const tune = document.getElementById("tune");
  const cameras = JSON.parse(tune?.dataset.cameras ?? "[]");
  const words = JSON.parse(tune?.dataset.words ?? "{}");
  const stage = at("stage"), shapes = at("shapes"), still = at("still");
  const STEP = 0.005, LEAP = 0.05;

  // What is drawn: places in 0–1 of the picture.
  const drawn = { line: [], zone: [], person: [] };
  let device = null;

  const chosen = () => cameras.find((camera) => camera.name === at("camera").value);
  const clamp = (number) => Math.min(1, Math.max(0, number));
  const round = (number) => Math.round(number * 1000) / 1000;
  const pair = ([x, y]) => `[${round(x)}, ${round(y)}]`;
  const isZone = () => device.zone !== null;

  function element(name, attributes) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  }

  function draw() {
    const { width, height } = still;
    shapes.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const place = ([x, y]) => [x * width, y * height];
    const points = (corners) => corners.map((corner) => place(corner).join(",")).join(" ");
    const parts = [];
    if (isZone()) {
      parts.push(element("polygon", { points: points(drawn.zone), class: "zone" }));
    } else {
      const [[x1, y1], [x2, y2]] = drawn.line.map(place);
      const length = Math.hypot(x2 - x1, y2 - y1) || 1;
      // To the right of somebody at the first point who looks to the second.
      const right = [-(y2 - y1) / length, (x2 - x1) / length];
      const [mx, my] = [(x1 + x2) / 2, (y1 + y2) / 2];
      const size = Math.min(width, height) / 6;
      const [tx, ty] = [mx + right[0] * size, my + right[1] * size];
      const along = [right[1] * size * 0.25, -right[0] * size * 0.25];
      const [bx, by] = [mx + right[0] * size * 0.65, my + right[1] * size * 0.65];
      parts.push(
        element("line", { x1, y1, x2, y2, class: "counting" }),
        element("line", { x1: mx, y1: my, x2: bx, y2: by, class: "way" }),
        element("polygon", {
          points: `${tx},${ty} ${bx + along[0]},${by + along[1]} ${bx - along[0]},${by - along[1]}`, class: "tip",
        }),
      );
      const label = element("text", { x: tx + right[0] * 14, y: ty + right[1] * 14 + 6, class: "label" });
      label.textContent = words.in;
      parts.push(label);
    }
    if (at("sized").checked) {
      const [[x1, y1], [x2, y2]] = drawn.person.map(place);
      parts.push(element("rect", {
        x: Math.min(x1, x2), y: Math.min(y1, y2), width: Math.abs(x2 - x1), height: Math.abs(y2 - y1), class: "person",
      }));
    }
    shapes.replaceChildren(...parts);
    at("text").value = toml();
  }

  function toml() {
    const title = Object.entries(device.title).map(([language, text]) => `${language} = ${JSON.stringify(text)}`);
    const lines = [
      `[device.${device.name}]`,
      `profile = "${device.profile}"`,
      `title = { ${title.join(", ")} }`,
      `bus = "${chosen().name}"`,
    ];
    if (isZone()) lines.push(`zone = [${drawn.zone.map(pair).join(", ")}]`);
    else lines.push(`line = [${drawn.line.flat().map(round).join(", ")}]`);
    if (at("sized").checked) {
      const [[x1, y1], [x2, y2]] = drawn.person;
      lines.push(`person = ${pair([Math.abs(x2 - x1), Math.abs(y2 - y1)])}`);
    }
    lines.push(`every = ${device.every}`);
    return `${lines.join("\n")}\n`;
  }

  // Handles: buttons, so that they can be dragged, touched, and moved by the arrow keys.

  function handle(shape, index) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = `handle ${shape}`;
    button.setAttribute("aria-describedby", "tune-keys");
    const show = () => {
      const [x, y] = drawn[shape][index];
      button.style.left = `${x * 100}%`;
      button.style.top = `${y * 100}%`;
      const name = `${words[shape]} ${index + 1}`;
      button.textContent = shape === "person" ? "" : String(index + 1);
      button.setAttribute("aria-label", `${name}: ${Math.round(x * 100)} %, ${Math.round(y * 100)} %`);
    };
    const move = (x, y) => {
      const [fromX, fromY] = drawn[shape][index];
      drawn[shape][index] = [clamp(x), clamp(y)];
      if (shape === "person" && index === 0) {
        // The first corner carries the whole box.
        const [farX, farY] = drawn.person[1];
        drawn.person[1] = [clamp(farX + clamp(x) - fromX), clamp(farY + clamp(y) - fromY)];
      }
      for (const each of stage.querySelectorAll(".handle")) each.show();
      draw();
    };
    button.show = show;
    button.addEventListener("pointerdown", (event) => {
      button.setPointerCapture(event.pointerId);
      event.preventDefault();
      button.focus();
    });
    button.addEventListener("pointermove", (event) => {
      if (!button.hasPointerCapture(event.pointerId)) return;
      const box = stage.getBoundingClientRect();
      move((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    });
    button.addEventListener("keydown", (event) => {
      const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!way) return;
      event.preventDefault();
      const step = event.shiftKey ? LEAP : STEP;
      const [x, y] = drawn[shape][index];
      move(x + way[0] * step, y + way[1] * step);
    });
    show();
    return button;
  }

  function arrange() {
    for (const old of stage.querySelectorAll(".handle")) old.remove();
    const wanted = [isZone() ? "zone" : "line", ...(at("sized").checked ? ["person"] : [])];
    for (const shape of wanted) drawn[shape].forEach((_, index) => stage.append(handle(shape, index)));
    at("swap").hidden = isZone();
    at("more").hidden = at("less").hidden = !isZone();
    draw();
  }

  // What is chosen

  const blank = (kind) => ({
    name: `${chosen().name}-${kind}`,
    title: words[`new-${kind}`],
    profile: kind === "line" ? "door-counter/camera-line" : "occupancy/camera-zone",
    line: kind === "line" ? [0.15, 0.5, 0.85, 0.5] : null,
    zone: kind === "zone" ? [[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8]] : null,
    person: null,
    every: 10,
  });

  function listDevices() {
    const news = ["line", "zone"].map(blank);
    const devices = [...chosen().devices, ...news];
    at("device").replaceChildren(...devices.map((each, index) => {
      const isNew = index >= chosen().devices.length;
      const name = each.title[document.documentElement.lang.slice(0, 2)] || each.name;
      return new Option(isNew ? name : `${name} (${each.name})`, String(index));
    }));
    at("device").devices = devices;
    choose();
    const allowed = chosen().stills;
    at("look").disabled = !allowed;
    tell(allowed ? "" : words["stills-off"]);
  }

  function choose() {
    device = at("device").devices[Number(at("device").value)];
    if (device.line) drawn.line = [device.line.slice(0, 2), device.line.slice(2)];
    if (device.zone) drawn.zone = device.zone.map((corner) => [...corner]);
    const [width, height] = device.person ?? [0.12, 0.3];
    drawn.person = [[0.5 - width / 2, 0.5 - height / 2], [0.5 + width / 2, 0.5 + height / 2]];
    at("sized").checked = device.person !== null;
    arrange();
  }

  function tell(problem) {
    at("problem").hidden = !problem;
    at("problem").textContent = problem;
  }

  async function look() {
    if (at("look").ariaDisabled) return;
    at("look").ariaDisabled = "true"; // a button that is `disabled` loses the focus
    try {
      const body = JSON.stringify({ camera: chosen().name });
      const answer = await post("/still", body, { "content-type": "application/json" });
      if (!answer) return;
      if (!answer.ok) return tell((await answer.json()).message);
      const picture = await createImageBitmap(await answer.blob());
      [still.width, still.height] = [picture.width, picture.height];
      still.getContext("2d").drawImage(picture, 0, 0);
      picture.close();
      tell("");
      draw();
    } catch {
      tell(document.body.dataset.failed);
    } finally {
      at("look").ariaDisabled = null;
    }
  }

  // Browsers give the clipboard to encrypted pages only; a selection can be copied anywhere.
  function copy() {
    at("text").select();
    const copied = document.execCommand("copy");
    toast(copied ? words.copied : words["copy-failed"], copied ? "done" : "failed");
  }

  if (tune && cameras.length) {
    at("camera").addEventListener("change", () => {
      still.getContext("2d").clearRect(0, 0, still.width, still.height);
      listDevices();
    });
    at("device").addEventListener("change", choose);
    at("sized").addEventListener("change", arrange);
    at("look").addEventListener("click", look);
    at("copy").addEventListener("click", copy);
    at("swap").addEventListener("click", () => { drawn.line.reverse(); arrange(); });
    at("more").addEventListener("click", () => {
      const [first, last] = [drawn.zone[0], drawn.zone.at(-1)];
      if (drawn.zone.length < 32) drawn.zone.push([(first[0] + last[0]) / 2, (first[1] + last[1]) / 2]);
      arrange();
    });
    at("less").addEventListener("click", () => {
      if (drawn.zone.length > 3) drawn.zone.pop();
      arrange();
    });
    listDevices();
  }
}
