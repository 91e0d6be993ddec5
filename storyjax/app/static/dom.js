// Elements are made by these functions alone: what came from films and people is only ever text, never markup.

/** Returns a new element. Properties that begin with "on" are listeners, "class" and the like are attributes. */
export function el(tag, given, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given ?? {})) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Returns the element of that id. */
export function byId(id) {
  return document.getElementById(id);
}

const PATHS = {
  play: "M7 4.5v15l12-7.5z", pause: "M7 5h3.5v14H7zM13.5 5H17v14h-3.5z", back: "M14.5 5l-7 7 7 7",
  sound: "M4 9.5v5h3.5L12 18.5v-13L7.5 9.5zM15 9a4.2 4.2 0 010 6M17.5 6.5a8 8 0 010 11", mute: "M4 9.5v5h3.5L12 18.5v-13L7.5 9.5zM16 10l4.5 4.5M20.5 10L16 14.5",
  full: "M4.5 9V4.5H9M15 4.5h4.5V9M19.5 15v4.5H15M9 19.5H4.5V15", boxes: "M4.5 6.5h9v11h-9zM13.5 9.5h6v8h-6",
  subtitles: "M3.5 6h17v12h-17zM6.5 14.5h6M14.5 14.5h3M6.5 11h3M11.5 11h6", plus: "M12 6v12M6 12h12", minus: "M6 12h12",
  edit: "M5 19l1-4L16 5l3 3L9 18zM14 7l3 3", help: "M9.2 9a2.9 2.9 0 115 2c-1.200 1-2.200 1.500-2.200 3M12 17.500v.6", fit: "M4 6v12M20 6v12M8 12h8M10 9.500L7.500 12l2.500 2.500M14 9.500l2.500 2.500-2.500 2.500",
  undo: "M8 5L4 9l4 4M4 9h9.500a5.500 5.500 0 010 11H9",
};

/** Returns a small picture for a button. */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", PATHS[name]);
  const solid = name === "play" || name === "pause";
  path.setAttribute("fill", solid ? "currentColor" : "none");
  if (!solid) {
    path.setAttribute("stroke", "currentColor");
    path.setAttribute("stroke-width", "1.7");
    path.setAttribute("stroke-linecap", "round");
    path.setAttribute("stroke-linejoin", "round");
  }
  svg.append(path);
  return svg;
}

/** Returns a button that shows a small picture and is read out by its name. */
export function iconButton(name, label, press, given) {
  return el("button", { class: "icon", type: "button", "aria-label": label, title: label, onclick: press, ...given }, icon(name));
}

/** Returns the picture of a person or thing, or its first letter where there is none. */
export function face(entity, url) {
  const kind = entity.kind === "thing" ? "face thing" : "face";
  if (url) return el("img", { class: kind, src: url, alt: "", loading: "lazy", decoding: "async" });
  return el("span", { class: kind, "aria-hidden": "true" }, [...entity.name][0] ?? "?");
}

let shownToast = null;

/** Says something for some seconds, with one thing that can be done about it. */
export function toast(message, action, act) {
  shownToast?.remove();
  const made = el("div", { class: "toast", role: "status" }, el("span", {}, message));
  if (action) made.append(el("button", { type: "button", onclick: () => { made.remove(); act(); } }, action));
  document.body.append(made);
  shownToast = made;
  setTimeout(() => made.remove(), action ? 12000 : 6000);
}
