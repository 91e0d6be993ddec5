// How times, counts and colours are shown.

/** Returns seconds as 1:02 or 1:02:03; `tenths` adds .4 */
export function clock(seconds, tenths = false) {
  const whole = Math.floor(Math.max(0, seconds) + 1e-6);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const last = `${String(s).padStart(2, "0")}${tenths ? "." + Math.floor((Math.max(0, seconds) - whole) * 10 + 1e-6) : ""}`;
  return h ? `${h}:${String(m).padStart(2, "0")}:${last}` : `${m}:${last}`;
}

/** Returns how long something is, in words. */
export function length(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Returns "1 film", "3 films"; `many` where it is not made by an s. */
export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/** Returns the number of an entity's colour in style.css, or null for nobody. */
export function colourNumber(entity) {
  return entity ? ((entity - 1) * 3) % 10 : null;
}

/** Returns an entity's colour for elements. */
export function colour(entity) {
  const number = colourNumber(entity);
  return number === null ? "var(--nobody)" : `var(--p${number})`;
}

// Those of style.css for dark pages: over the film, which has its own light.
const OVER_FILM = ["#7fb2ee", "#f0935a", "#6cc493", "#e07fb3", "#b49bf0", "#e0bd4a", "#55c6c8", "#f0857a", "#98a5f2", "#cfa27f"];

/** Returns an entity's colour over the film. */
export function filmColour(entity) {
  const number = colourNumber(entity);
  return number === null ? "#d8d2c8" : OVER_FILM[number];
}

/** Returns a sentence about somebody: seen for how long, how many lines. */
export function summary(entity) {
  const parts = [];
  if (entity.seen) parts.push(`seen ${length(entity.seen)}`);
  if (entity.lines) parts.push(count(entity.lines, "line"));
  if (entity.kind === "thing" && entity.category && entity.category !== entity.name) parts.unshift(entity.category);
  return parts.join(" · ");
}
