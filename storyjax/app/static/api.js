// Where the pages read from: the server, or, in a folder that was exported, the scripts that hold the data.

const DATA = globalThis.STORYJAX ?? null;

/** Whether the page stands alone, without a server: nothing can then be changed or asked. */
export const alone = DATA !== null;

async function request(path, given) {
  let answer;
  try {
    answer = await fetch(path, given);
  } catch {
    throw new Error("the app does not answer: is it still running?");
  }
  if (answer.status === 401) location.assign("/login");
  const value = await answer.json().catch(() => ({ error: `the app answered ${answer.status}` }));
  if (!answer.ok) throw new Error(value.error ?? `the app answered ${answer.status}`);
  return value;
}

function change(path, value, method = "POST") {
  const headers = { "X-Storyjax": "1", "Content-Type": "application/json" };
  return request(path, { method, headers, body: JSON.stringify(value) });
}

async function pages(path, add) {
  const mark = path.includes("?") ? "&" : "?";
  for (let offset = 0; ; ) {
    const got = await request(`${path}${mark}offset=${offset}&limit=2000`);
    add(got.rows, got.total);
    offset += got.rows.length;
    if (!got.rows.length || offset >= got.total) return;
  }
}

const server = {
  filmId: () => Number(location.pathname.split("/").pop()),
  library: () => request("/api/library"),
  entities: (kind, offset = 0, limit = 500) => request(`/api/entities?kind=${kind}&offset=${offset}&limit=${limit}`),
  entity: (id) => request(`/api/entities/${id}`),
  film: (film) => request(`/api/films/${film}`),
  shots: (film, add) => pages(`/api/films/${film}/shots`, add),
  lanes: (film, add) => pages(`/api/films/${film}/lanes`, add),
  utterances: (film, add) => pages(`/api/films/${film}/utterances`, add),
  tracks: (film, start, end) => request(`/api/films/${film}/tracks?start=${start}&end=${end}`),
  search: (words, film) => request(`/api/search?q=${encodeURIComponent(words)}${film ? `&film=${film}` : ""}`),
  still: (id) => (id ? `/api/stills/${id}` : null),
  media: (film) => `/media/${film.id}`,
  subtitles: (film, version) => `/api/films/${film}/subtitles.vtt?v=${version}`,
  filmPage: (film, time) => `/film/${film}${time === undefined ? "" : `#t=${time.toFixed(2)}`}`,
  correct: (value) => change("/api/corrections", value),
  corrections: () => request("/api/corrections"),
  undo: () => change("/api/corrections/undo", {}),
  ask: (question, film) => change("/api/ask", { question, film }),
  asked: (job) => request(`/api/ask/${job}`),
  login: (token) => change("/api/login", { token }),
  photo: (entity, file) => request(`/api/entities/${entity}/photos`, { method: "POST", headers: { "X-Storyjax": "1", "Content-Type": "application/octet-stream" }, body: file }),
};

function loaded(file) {
  return new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = file;
    script.onload = done;
    script.onerror = () => failed(new Error(`${file} is missing: keep the exported folder together`));
    document.head.append(script);
  });
}

const folder = {
  filmId: () => DATA?.film.id,
  film: async () => DATA.film,
  shots: async (film, add) => add(DATA.shots, DATA.shots.length),
  lanes: async (film, add) => add(DATA.lanes, DATA.lanes.length),
  utterances: async (film, add) => add(DATA.utterances, DATA.utterances.length),
  tracks: async (film, start, end) => {
    const number = Math.floor(start / DATA.window);
    if (!DATA.boxes[number]) await loaded(`data/boxes_${number}.js`);
    return { start, end, rows: DATA.boxes[number] ?? [] };
  },
  search: async (words) => {
    const terms = words.toLowerCase().split(/\s+/).filter(Boolean);
    const holds = (text) => terms.every((term) => text.toLowerCase().includes(term));
    const shown = DATA.shots.flatMap((shot) => shot.shows.filter(holds).map((text) => ({ ...shot, text })));
    return { said: DATA.utterances.filter((line) => holds(line.text)), shown, names: DATA.film.entities.filter((one) => holds(one.name)) };
  },
  still: (id) => (id ? `stills/${id}.jpg` : null),
  media: () => DATA.media,
  subtitles: () => null,
  filmPage: (film, time) => `#t=${(time ?? 0).toFixed(2)}`,
};

/** What the pages read from. */
export const source = alone ? folder : server;
