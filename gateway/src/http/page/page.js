// The console page. Asks the API once a second while somebody looks, and draws what it answers. Everything that comes from
// the API is put in as text, never as markup: names of clients and statements are strangers' words.
"use strict";

const PERIOD = 1000, PATIENCE = 5000, KEEP = 900, SLOW_EVERY = 10;
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

// ---- Elements -------------------------------------------------------------------------------------------------------

function put(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) node.removeAttribute(name);
    else if (name.startsWith("on")) node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of [children ?? []].flat()) {
    if (child !== null && child !== undefined) node.append(child);
  }
  return node;
}
const h = (tag, attributes, ...children) => put(document.createElement(tag), attributes, children);
const s = (tag, attributes, ...children) => put(document.createElementNS(SVG, tag), attributes, children);
const write = (node, text) => { if (node.textContent !== text) node.textContent = text; };

/// Rows by key: what stays keeps its element, so that focus and transitions survive the next picture.
function keyed(parent, items, key, make, update) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let previous = null;
  for (const item of items) {
    const name = key(item);
    let node = old.get(name);
    old.delete(name);
    if (!node) { node = make(item); node.dataset.key = name; }
    const place = previous ? previous.nextSibling : parent.firstChild;
    if (node !== place) parent.insertBefore(node, place);
    update(node, item);
    previous = node;
  }
  for (const node of old.values()) node.remove();
}

// ---- Numbers --------------------------------------------------------------------------------------------------------

const count = (n) => n === null || n === undefined ? "–" : n >= 1e6 ? (n / 1e6).toFixed(1) + "M" : n >= 1e4 ? (n / 1e3).toFixed(1) + "k" : String(Math.round(n));
const rate = (n) => n === null || n === undefined ? "–" : n > 0 && n < 10 ? n.toFixed(1) : count(n);
function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.001) return Math.round(seconds * 1e6) + " µs";
  if (seconds < 1) return (seconds * 1e3).toFixed(seconds < 0.01 ? 1 : 0) + " ms";
  if (seconds < 120) return seconds.toFixed(seconds < 10 ? 1 : 0) + " s";
  if (seconds < 7200) return Math.round(seconds / 60) + " min";
  return (seconds / 3600).toFixed(1) + " h";
}

// ---- The API --------------------------------------------------------------------------------------------------------

let secret = sessionStorage.getItem("weir-admin-secret");

class Refused extends Error {
  constructor(status, answer) {
    const inside = Array.isArray(answer?.internal) ? ": " + answer.internal.map((i) => i.reason ?? i).join("; ") : "";
    super((answer?.error ?? "HTTP " + status) + inside);
    this.status = status;
  }
}

async function ask(method, path, body) {
  const headers = {};
  if (body) headers["content-type"] = "application/json";
  if (secret) headers["x-hasura-admin-secret"] = secret;
  const answer = await fetch(path, {
    method, headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(PATIENCE), cache: "no-store",
  });
  const parsed = await answer.json().catch(() => null);
  if (!answer.ok) throw new Refused(answer.status, parsed);
  return parsed;
}
const order = (type, args, more) => ask("POST", "/v1/metadata", { type, args: args ?? {}, ...more });

// ---- What is known --------------------------------------------------------------------------------------------------

/// `sources` as get_pool_stats answers; `before` the one of a second ago, by name; `history` what the plots show.
const known = { stats: null, before: new Map(), history: new Map(), config: null, bad: [], ticks: 0, held: false };

/// The one place that knows what get_pool_stats looks like.
function read(answer) {
  const sources = answer.sources.map((source) => {
    const pools = source.pools.map((pool) => ({
      database: pool.database, limit: pool.limit.value, limit_set_in: pool.limit.set_in, open: pool.open, waiting: pool.waiting,
      longest_wait: pool.longest_wait, active: pool.active, holding: pool.idle_in_transaction, pinned: pool.pinned,
      opening: pool.opening + pool.resetting, idle: pool.idle, trouble: pool.trouble,
    }));
    const sum = (field) => pools.reduce((total, pool) => total + pool[field], 0);
    // Of several pools the slowest: a percentile cannot be added up.
    const slowest = (kind, part) => source.pools.reduce((most, pool) => {
      const value = pool.recent?.[kind]?.count ? pool.recent[kind][part] : null;
      return value === null ? most : Math.max(most ?? 0, value);
    }, null);
    const percentiles = (kind) => ({ p50: slowest(kind, "p50"), p99: slowest(kind, "p99") });
    return {
      name: source.name, kind: source.kind, state: source.state, reason: source.reason, databases: source.database_names,
      clients: source.clients.connected, open: sum("open"), waiting: sum("waiting"), limit: sum("limit"), pinned: sum("pinned"),
      transactions: source.totals.transactions, queries: source.totals.queries, query: percentiles("query"), wait: percentiles("wait"),
      pools, pins: source.pins.map((pin) => ({ ...pin, seconds: pin.pinned_seconds })), waits: source.waits,
    };
  });
  return {
    at: performance.now() / 1000, version: answer.version, uptime: (Date.parse(answer.now) - Date.parse(answer.started)) / 1000,
    clients: answer.clients, sources,
  };
}

/// Rates since the picture before, kept for the plots.
function remember(stats) {
  for (const source of stats.sources) {
    const before = known.before.get(source.name);
    const seconds = before ? stats.at - before.at : 0;
    const since = (field) => before && seconds > 0 && source[field] >= before[field] ? (source[field] - before[field]) / seconds : null;
    source.tps = since("transactions");
    source.qps = since("queries");
    known.before.set(source.name, { at: stats.at, transactions: source.transactions, queries: source.queries });
    const points = known.history.get(source.name) ?? [];
    points.push({ at: stats.at, tps: source.tps, qps: source.qps, p50: source.query.p50, p99: source.query.p99, wait: source.wait.p99, longest: source.wait.p50 });
    if (points.length > KEEP) points.shift();
    known.history.set(source.name, points);
  }
  for (const name of known.history.keys()) {
    if (!stats.sources.some((source) => source.name === name)) { known.history.delete(name); known.before.delete(name); }
  }
}

async function look() {
  if (known.held || document.hidden || $("secret-dialog").open) return;
  try {
    const slow = known.ticks % SLOW_EVERY === 0;
    known.ticks += 1;
    const [answer, bad, config] = await Promise.all([
      order("get_pool_stats"),
      slow ? order("get_inconsistent_metadata").catch(unlessDenied) : null,
      slow ? ask("GET", "/v1alpha1/config").catch(unlessDenied) : null,
    ]);
    const stats = read(answer);
    remember(stats);
    known.stats = stats;
    if (bad) known.bad = bad.inconsistent_objects;
    link("live", "live");
    draw();
    if (slow) { known.config = config; drawConfig(); }
  } catch (error) {
    known.ticks = 0;
    if (error.status === 401) { secretWanted(error); return; }
    link("lost", error instanceof Refused ? error.message : "no answer; trying again");
  }
}

/// What is asked now and then may fail (`enabled_apis` may leave it out) without the picture failing.
function unlessDenied(error) {
  if (error.status === 401) throw error;
  return null;
}

function link(state, text) {
  $("connection").dataset.link = state;
  write($("connection-text"), text);
}

async function follow() {
  for (;;) {
    const began = performance.now();
    await look();
    await new Promise((done) => setTimeout(done, Math.max(200, PERIOD - (performance.now() - began))));
  }
}

// ---- The picture ----------------------------------------------------------------------------------------------------

function draw() {
  const { stats } = known;
  write($("version"), `${stats.version} · up ${duration(stats.uptime)}`);
  drawTiles(stats);
  keyed($("source-list"), stats.sources, (source) => source.name, makeCard, updateCard);
  if (!stats.sources.length && !$("source-list").children.length) $("source-list").append(h("p", { class: "empty" }, "No sources are declared."));
  drawPlots();
  drawPins(stats);
  drawWaits(stats);
  drawBad();
}

function drawTiles(stats) {
  const sum = (field) => stats.sources.reduce((total, source) => total + (source[field] ?? 0), 0);
  const worst = (pick) => stats.sources.reduce((most, source) => Math.max(most, pick(source) ?? 0), 0);
  const waiting = sum("waiting");
  const tiles = [
    ["sources", count(stats.sources.length), "sources"],
    ["clients", count(stats.clients), "clients"],
    ["open", count(sum("open")), "server connections", " of " + count(sum("limit"))],
    ["pinned", count(sum("pinned")), "pinned"],
    ["waiting", count(waiting), "waiting", "", waiting > 0],
    ["tps", rate(stats.sources.every((source) => source.tps === null) ? null : sum("tps")), "transactions a second"],
    ["p99", duration(worst((source) => source.query.p99)), "slowest source's query p99"],
  ];
  keyed($("tiles"), tiles, (tile) => tile[0], () => h("div", { class: "tile" }, h("b", {}, h("span"), h("small")), h("span")), (node, [name, value, what, more, alarm]) => {
    node.id = "tile-" + name;
    node.className = alarm ? "tile alarm" : "tile";
    write(node.children[0].children[0], value);
    write(node.children[0].children[1], more ?? "");
    write(node.children[1], what);
  });
}

function makeCard(source) {
  const pause = h("button", { type: "button", class: "pause" });
  const limit = h("button", { type: "button", class: "limit" }, "Limit…");
  return h("article", { class: "card" },
    h("div", { class: "card-top" }, h("h3", {}, source.name), h("span", { class: "badge kind" }, source.kind), h("span", { class: "badge state" }),
      h("span", { class: "actions" }, pause, limit)),
    h("p", { class: "reason" }), h("div", { class: "pools" }), s("svg", { class: "spark", role: "img", preserveAspectRatio: "none", viewBox: "0 0 120 30" }),
    h("p", { class: "facts" }));
}

function updateCard(card, source) {
  card.className = "card " + source.state;
  const state = card.querySelector(".state");
  state.className = "badge state " + source.state;
  write(state, source.state);
  const reason = card.querySelector(".reason");
  write(reason, source.reason ?? "");
  reason.hidden = !source.reason;
  const [pause, limit] = card.querySelectorAll("button");
  const serves = source.state !== "inconsistent";
  const runs = source.state === "running";
  pause.hidden = limit.hidden = !serves;
  for (const part of [".pools", ".spark", ".facts"]) card.querySelector(part).toggleAttribute("hidden", !serves);
  write(pause, runs ? "Pause" : "Resume");
  put(pause, { "aria-label": `${runs ? "Pause" : "Resume"} ${source.name}`, onclick: () => act(pause, runs ? "pause_source" : "resume_source", source.name) });
  put(limit, { "aria-label": `Change the limit of ${source.name}`, onclick: () => askLimit(source) });
  keyed(card.querySelector(".pools"), source.pools, (pool) => pool.database, makePool, updatePool);
  drawSpark(card.querySelector(".spark"), source);
  drawFacts(card.querySelector(".facts"), source);
}

const SHARES = ["active", "holding", "pinned", "opening", "idle"];
const SPOKEN = { holding: "idle in transaction" };

function makePool() {
  return h("div", { class: "pool" }, h("p", { class: "pool-head" }, h("span"), h("span", { class: "waiting" }), h("span", { class: "numbers" })),
    h("div", { class: "bar", role: "img" }, ...SHARES.map((share) => h("span", { class: share }))));
}

function updatePool(node, pool) {
  const [name, waiting, numbers] = node.querySelectorAll(".pool-head span");
  write(name, pool.database);
  write(numbers, `${pool.open} of ${pool.limit}`);
  put(numbers, { title: pool.limit_set_in ? "set in " + pool.limit_set_in : null });
  write(waiting, pool.waiting ? `${pool.waiting} waiting, ${duration(pool.longest_wait)}` : "");
  const bar = node.querySelector(".bar");
  const whole = Math.max(pool.limit, pool.open, 1);
  let title = "";
  SHARES.forEach((share, index) => {
    bar.children[index].style.width = (100 * pool[share]) / whole + "%";
    title += `${pool[share]} ${SPOKEN[share] ?? share}, `;
  });
  put(bar, { "aria-label": `${title}limit ${pool.limit}, ${pool.waiting} waiting`, title: `${title}limit ${pool.limit}` });
}

function drawFacts(node, source) {
  const facts = [
    ["tps", rate(source.tps)], ["queries/s", rate(source.qps)], ["query p50", duration(source.query.p50)], ["p99", duration(source.query.p99)],
    ["wait p99", duration(source.wait.p99)], ["clients", count(source.clients)],
  ];
  keyed(node, facts, (fact) => fact[0], ([name]) => h("span", {}, name + " ", h("b")), (span, [, value]) => write(span.lastChild, value));
}

// ---- Plots ----------------------------------------------------------------------------------------------------------

function path(points, x, y) {
  let pen = "M";
  let text = "";
  for (const point of points) {
    const value = y(point);
    if (value === null || value === undefined || Number.isNaN(value)) { pen = "M"; continue; }
    text += `${pen}${x(point).toFixed(1)} ${value.toFixed(1)}`;
    pen = "L";
  }
  return text;
}

function drawSpark(svg, source) {
  const points = (known.history.get(source.name) ?? []).slice(-120);
  const top = Math.max(1, ...points.map((point) => point.tps ?? 0));
  const from = known.stats.at - 120;
  const y = (point) => point.tps === null ? null : 29 - (28 * point.tps) / top;
  put(svg, { "aria-label": `transactions a second in the last two minutes, at most ${rate(top)}` });
  svg.replaceChildren(s("path", { class: "line s0", d: path(points, (point) => point.at - from, y) }));
}

const PLOTS = [
  { id: "plot-throughput", title: "Per second", unit: "", show: rate, lines: [["tps", "transactions"], ["qps", "queries"]] },
  { id: "plot-query", title: "Query latency", unit: "", show: duration, lines: [["p50", "p50"], ["p99", "p99"]] },
  { id: "plot-wait", title: "Wait for a connection", unit: "", show: duration, lines: [["wait", "p99"]] },
];

function drawPlots() {
  const select = $("plot-source");
  const names = known.stats.sources.filter((source) => source.state !== "inconsistent").map((source) => source.name);
  keyed(select, names, (name) => name, (name) => h("option", { value: name }, name), () => {});
  if (!names.includes(select.value)) select.value = names[0] ?? "";
  // A page that was just opened has little to show yet: not at the edge of an empty plot.
  const age = known.stats.at - (known.history.get(select.value)?.[0]?.at ?? known.stats.at);
  const span = Math.min(Number($("plot-span").value), Math.max(60, Math.ceil(age / 60) * 60));
  const points = (known.history.get(select.value) ?? []).filter((point) => point.at >= known.stats.at - span);
  for (const plot of PLOTS) drawPlot(plot, points, span);
}

function nice(top) {
  const power = 10 ** Math.floor(Math.log10(top));
  return [1, 2, 5, 10].find((step) => step * power >= top) * power;
}

function drawPlot(plot, points, span) {
  const figure = $(plot.id);
  // Whoever reads a value off the plot wants it to stand still.
  if (figure.matches(":hover") && figure.childElementCount) return;
  const width = Math.max(200, figure.clientWidth - 26), height = 150, left = 48, bottom = 20, right = 6, above = 12;
  const values = points.flatMap((point) => plot.lines.map(([field]) => point[field])).filter((value) => Number.isFinite(value));
  const top = nice(Math.max(plot.show === duration ? 0.0001 : 1, ...values));
  const from = known.stats.at - span;
  const x = (point) => left + ((width - left - right) * (point.at - from)) / span;
  const y = (value) => height - bottom - ((height - bottom - above) * value) / top;
  const last = points.at(-1) ?? {};
  const spoken = plot.lines.map(([field, name]) => `${name} ${plot.show(last[field])}`).join(", ");
  const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${plot.title}, now ${spoken}`, onpointermove: (event) => point(event), onpointerleave: () => { read.textContent = ""; cursor.setAttribute("visibility", "hidden"); } });
  for (const part of [0, 0.5, 1]) {
    svg.append(s("line", { class: "grid", x1: left, x2: width - right, y1: y(part * top), y2: y(part * top) }),
      s("text", { x: left - 6, y: y(part * top) + 4, "text-anchor": "end" }, plot.show(part * top)));
  }
  svg.append(s("text", { x: left, y: height - 4 }, "−" + duration(span)), s("text", { x: width - right, y: height - 4, "text-anchor": "end" }, "now"));
  plot.lines.forEach(([field], index) => {
    const d = path(points, x, (point) => Number.isFinite(point[field]) ? y(point[field]) : null);
    svg.append(s("path", { class: `line s${index}`, d }));
  });
  const cursor = s("line", { class: "cursor", y1: above, y2: height - bottom, visibility: "hidden" });
  svg.append(cursor);
  const read = h("span");
  const legend = h("span", {}, ...plot.lines.map(([field, name], index) => h("span", { class: "key" + index }, ` ${name} ${plot.show(last[field])} ${plot.unit} `)));
  function point(event) {
    const box = svg.getBoundingClientRect();
    const at = from + (((event.clientX - box.left) * (width / box.width) - left) / (width - left - right)) * span;
    const near = points.reduce((best, each) => !best || Math.abs(each.at - at) < Math.abs(best.at - at) ? each : best, null);
    if (!near) return;
    put(cursor, { x1: x(near), x2: x(near), visibility: "visible" });
    read.textContent = `${duration(known.stats.at - near.at)} ago: ` + plot.lines.map(([field, name]) => `${name} ${plot.show(near[field])}`).join(", ");
  }
  figure.replaceChildren(h("figcaption", {}, h("b", {}, plot.title), legend, read), svg);
}

// ---- Tables ---------------------------------------------------------------------------------------------------------

/// A table whose cells follow `columns`: [name, class, what to show of a row].
function table(parent, rows, columns, empty) {
  if (!rows.length) { parent.replaceChildren(h("p", { class: "empty" }, empty)); return; }
  let body = parent.querySelector("tbody");
  if (!body) {
    body = h("tbody");
    const head = h("tr", {}, ...columns.map(([name, kind]) => h("th", { scope: "col", class: kind }, name)));
    parent.replaceChildren(h("table", { class: "stack" }, h("thead", {}, head), body));
  }
  keyed(body, rows, (row) => row.key, () => h("tr", {}, ...columns.map(([name, kind]) => h("td", { class: kind, "data-name": name }))),
    (line, row) => columns.forEach(([, , show], index) => write(line.children[index], String(show(row) ?? ""))));
}

const who = [
  ["Source", "", (row) => row.source], ["Client", "number", (row) => row.client_id], ["User", "", (row) => row.user],
  ["Application", "", (row) => row.application_name], ["Address", "", (row) => row.address],
];

function drawPins(stats) {
  const rows = stats.sources.flatMap((source) => source.pins.map((pin) => ({ ...pin, source: source.name, key: `${source.name} ${pin.client_id}` })));
  rows.sort((a, b) => b.seconds - a.seconds);
  table($("pins"), rows, [...who, ["Reason", "", (row) => row.reason], ["For", "number", (row) => duration(row.seconds)], ["Statement", "code", (row) => row.statement]],
    "Nobody is pinned.");
}

function drawWaits(stats) {
  const rows = stats.sources.flatMap((source) => source.waits.map((wait) => ({ ...wait, source: source.name, key: `${source.name} ${wait.client_id}` })));
  rows.sort((a, b) => b.seconds - a.seconds);
  table($("waits"), rows.slice(0, 20), [...who, ["Waits for", "number", (row) => duration(row.seconds)]], "Nobody waits.");
}

function drawBad() {
  $("bad").hidden = !known.bad.length;
  const rows = known.bad.map((object) => ({ ...object, key: object.name + object.reason }));
  table($("bad-list"), rows, [["Object", "", (row) => row.name], ["Type", "", (row) => row.type], ["Reason", "", (row) => row.message ? `${row.reason}: ${row.message}` : row.reason]], "");
}

/// Every leaf of the configuration that says where it was set, as rows.
function settings(value, trail, rows) {
  if (/\.(name|database)$/.test(trail)) return rows;
  if (value === null || typeof value !== "object") { rows.push({ key: trail, value: String(value), origin: "" }); return rows; }
  if ("set_in" in value && "value" in value) {
    const shown = value.value === null ? "no limit" : Array.isArray(value.value) ? value.value.join(", ") : String(value.value);
    rows.push({ key: trail, value: shown, origin: value.set_in ?? "" });
    return rows;
  }
  for (const [name, inner] of Object.entries(value)) {
    const label = Array.isArray(value) ? (inner?.name ?? inner?.database ?? name) : name;
    settings(inner, trail ? `${trail}.${label}` : String(label), rows);
  }
  return rows;
}

function drawConfig() {
  if (!known.config) { table($("config"), [], [], "The configuration is not answered: admin.enabled_apis leaves it out, or see the log."); return; }
  const wanted = $("config-find").value.trim().toLowerCase();
  const rows = settings(known.config, "", []).filter((row) => `${row.key} ${row.value} ${row.origin}`.toLowerCase().includes(wanted));
  table($("config"), rows, [["Setting", "code", (row) => row.key], ["Value", "", (row) => row.value], ["Set in", "", (row) => row.origin]],
    wanted ? "No setting has that in its name, value or origin." : "");
}

// ---- Actions --------------------------------------------------------------------------------------------------------

function notice(text, bad) {
  const close = h("button", { type: "button", "aria-label": "Dismiss" }, "×");
  const node = h("div", { class: bad ? "notice bad" : "notice" }, h("span", {}, text), close);
  close.onclick = () => node.remove();
  $("notices").append(node);
  if (!bad) setTimeout(() => node.remove(), 8000);
}

async function act(button, type, name) {
  button.disabled = true;
  try {
    // Whoever watches sees what still runs; waiting for it would block the button.
    await order(type, type === "pause_source" ? { name, wait: false } : { name });
    await look();
  } catch (error) {
    if (error.status === 401) secretWanted(error);
    else notice(`${type} ${name}: ${error.message}`, true);
  } finally {
    button.disabled = false;
  }
}

/// The pool settings that decide the limit: total_max_connections wins over max_connections, as in Hasura.
function limitKey(settings) { return settings?.total_max_connections != null ? "total_max_connections" : "max_connections"; }

/// Where the pool settings of a source's metadata are, made when absent.
function poolSettings(source) {
  const info = source.configuration.connection_info;
  return (info.pool_settings ??= {});
}

function askLimit(source) {
  const pool = source.pools[0];
  write($("limit-title"), `Limit of ${source.name}`);
  write($("limit-now"), `Now ${pool.limit}${pool.limit_set_in ? `, set in ${pool.limit_set_in}` : ""}.`);
  write($("limit-effect"), "Written into the metadata and applied at once. Nothing is closed in use: connections above a lower limit go when their transaction ends.");
  write($("limit-error"), "");
  $("limit").value = pool.limit;
  const dialog = $("limit-dialog");
  dialog.querySelector("form").onsubmit = (event) => { event.preventDefault(); changeLimit(source, Number($("limit").value)); };
  dialog.showModal();
  $("limit").select();
}

async function changeLimit(source, limit) {
  const button = $("limit-dialog").querySelector("button.main");
  button.disabled = true;
  try {
    const { resource_version, metadata } = await order("export_metadata", {}, { version: 2 });
    const declared = metadata.sources.find((each) => each.name === source.name);
    if (!declared) throw new Error(`the metadata has no source ${source.name}`);
    const settings = poolSettings(declared);
    settings[limitKey(settings)] = limit;
    const family = { postgres: "pg", citus: "citus", cockroach: "cockroach", mssql: "mssql" }[declared.kind] ?? "pg";
    await order(`${family}_update_source`, { name: source.name, configuration: declared.configuration }, { resource_version });
    $("limit-dialog").close();
    known.ticks = 0;
    await look();
    const now = known.stats.sources.find((each) => each.name === source.name)?.pools[0];
    if (now && now.limit !== limit) notice(`${source.name}: the metadata says ${limit} now, but ${now.limit_set_in ?? "another place"} comes first and keeps it at ${now.limit}.`, true);
    else notice(`${source.name}: at most ${limit} server connections.`);
  } catch (error) {
    if (error.status === 401) { $("limit-dialog").close(); secretWanted(error); }
    else write($("limit-error"), error.message);
  } finally {
    button.disabled = false;
  }
}

// ---- The secret -----------------------------------------------------------------------------------------------------

function secretWanted(error) {
  link("lost", "no admin secret");
  const dialog = $("secret-dialog");
  write($("secret-why"), secret ? `Refused: ${error.message}` : "What this page shows is for administrators: the value of HASURA_GRAPHQL_ADMIN_SECRET, or admin.admin_secret in gateway.yaml.");
  if (!dialog.open) dialog.showModal();
  $("secret").value = "";
  $("secret").focus();
}

$("secret-dialog").querySelector("form").addEventListener("submit", () => {
  secret = $("secret").value;
  sessionStorage.setItem("weir-admin-secret", secret);
  $("secret").value = "";
  $("forget").hidden = false;
  setTimeout(look, 0);
});
// Without the secret there is nothing to see: Escape does not lead anywhere.
$("secret-dialog").addEventListener("cancel", (event) => event.preventDefault());
$("forget").hidden = !secret;
$("forget").onclick = () => { sessionStorage.removeItem("weir-admin-secret"); location.reload(); };
$("limit-cancel").onclick = () => $("limit-dialog").close();

// ---- Tools ----------------------------------------------------------------------------------------------------------

const THEMES = ["auto", "light", "dark"];
function theme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  write($("theme"), name[0].toUpperCase() + name.slice(1));
  localStorage.setItem("weir-theme", name);
}
theme(THEMES.includes(localStorage.getItem("weir-theme")) ? localStorage.getItem("weir-theme") : "auto");
$("theme").onclick = () => theme(THEMES[(THEMES.indexOf(localStorage.getItem("weir-theme")) + 1) % THEMES.length]);

$("hold").onclick = () => {
  known.held = !known.held;
  put($("hold"), { "aria-pressed": String(known.held) });
  if (known.held) link("held", "held");
  else look();
};
$("config-find").oninput = () => known.config && drawConfig();
for (const select of ["plot-source", "plot-span"]) $(select).onchange = () => known.stats && drawPlots();
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) || document.querySelector("dialog[open]")) return;
  if (event.key === "h") $("hold").click();
  else if (event.key === "t") $("theme").click();
  else if (event.key === "/") { event.preventDefault(); $("config-find").focus(); }
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });

follow();
