// The keyboard, and the page that explains it.
import { byId, el, icon } from "./dom.js";

/** Calls the action of a key wherever no text is being written. `keys` has [key, words, action]. */
export function listenToKeys(keys) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const writing = event.target.matches?.("input:not([type=range]):not([type=radio]), textarea, select");
    if (event.key === "Escape" && writing) {
      event.target.value = "";
      event.target.dispatchEvent(new Event("input"));
      event.target.blur();
    }
    if (writing) return;
    const sliding = event.target.matches?.("input[type=range]") && event.key.startsWith("Arrow");
    const pressing = event.key === " " && event.target.matches?.("button, a");
    if (sliding || pressing) return;
    const found = keys.find(([key]) => key === event.key);
    if (!found) return;
    event.preventDefault();
    found[2](event);
  });
  byId("help")?.append(icon("help"));
  byId("help")?.addEventListener("click", () => showHelp(keys));
}

/** Shows what each key does. */
export function showHelp(keys) {
  const shown = keys.filter(([, words]) => words);
  const names = { " ": "space", ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" };
  const close = el("button", { class: "button", type: "button", onclick: () => dialog.close() }, "Close");
  const rows = shown.flatMap(([key, words]) => [el("dt", {}, el("kbd", {}, names[key] ?? key)), el("dd", {}, words)]);
  const dialog = el("dialog", { "aria-labelledby": "help-title" },
    el("div", { class: "body" }, el("h2", { id: "help-title" }, "Keys"), el("dl", {}, ...rows), el("div", { class: "buttons" }, close)));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
