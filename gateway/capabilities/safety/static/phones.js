"use strict";
// Turns on that this phone rings on an alarm. Its browser gets an address at its maker's push service, which the
// gateway keeps.
{
  const panel = document.getElementById("this-phone");
  const button = document.getElementById("ring"), problem = document.getElementById("ring-problem");

  function show(state) {
    for (const each of panel.querySelectorAll("[data-state]")) each.hidden = each.dataset.state !== state;
    button.hidden = state !== "off";
  }

  async function subscription() {
    const worker = await navigator.serviceWorker.ready;
    return worker.pushManager.getSubscription();
  }

  async function showState() {
    if (!isSecureContext) return show("plain");
    if (!("serviceWorker" in navigator && "PushManager" in window && "Notification" in window)) return show("unsupported");
    if (Notification.permission === "denied") return show("blocked");
    show("off");
    const own = await subscription();
    const card = own && document.querySelector(`[data-endpoint="${CSS.escape(own.endpoint)}"]`);
    if (!card) return;
    show("on");
    card.querySelector(".this").hidden = false;
  }

  // A subscription of earlier may be for another key of the gateway, which can no longer send to it.
  async function subscribe() {
    const worker = await navigator.serviceWorker.ready;
    await (await worker.pushManager.getSubscription())?.unsubscribe();
    return worker.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: panel.dataset.serverKey });
  }

  async function ring() {
    problem.hidden = button.disabled = true;
    try {
      if ((await Notification.requestPermission()) !== "granted") return show("blocked");
      const { endpoint, keys } = (await subscribe()).toJSON();
      const answer = await post("/phones", new URLSearchParams({ endpoint, ...keys }));
      if (answer?.ok) return location.assign("/phones?done=add");
      if (answer) tell((await answer.json()).message);
    } catch (error) {
      tell(`${problem.dataset.failed} ${error.message}`);
    } finally {
      button.disabled = false;
    }
  }

  function tell(text) {
    problem.textContent = text;
    problem.hidden = false;
  }

  if (panel) {
    button.addEventListener("click", ring);
    showState();
  }
}
