"use strict";
// Whatever comes from a prompt, a key or a service is added as a text node or an attribute: never parsed as HTML.
const HOME = document.body.dataset.home;
const BASE = HOME.slice(0, -"/veo".length);
const SVG = new Set(["svg", "rect", "text", "title"]);
const find = (id) => document.getElementById(id);
const dollars = (amount) => `$${Number(amount || 0).toFixed(2)}`;
const path = (...parts) => parts.map(encodeURIComponent).join("/");

function make(tag, attributes = {}, ...children) {
  const element = SVG.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Airflow's own theme: of the window around the frame, or as Airflow keeps it.
function followTheme() {
  const outside = window.parent === window ? null : window.parent.document.documentElement;
  const apply = () => document.documentElement.classList.toggle(
    "dark", outside ? outside.classList.contains("dark") : localStorage.getItem("theme") === "dark");
  apply();
  if (outside) new MutationObserver(apply).observe(outside, { attributes: true, attributeFilter: ["class"] });
}

async function ask(url, options = {}) {
  const token = localStorage.getItem("token"); // where Airflow 3.0 keeps it; later ones have a cookie
  const headers = { Accept: "application/json", ...(options.headers || {}), ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const response = await fetch(url, { ...options, headers, credentials: "same-origin" });
  const body = await response.json().catch(() => ({}));
  if (response.status === 401) throw new Error("You are not logged in. Log in to Airflow, and open this page again.");
  if (!response.ok) throw new Error(typeof body.detail === "string" ? body.detail : `${response.status} ${response.statusText}`);
  return body;
}

// The frame may not navigate the window around it, but a link in that window may.
function open_outside(event) {
  if (window.parent === window) return;
  event.preventDefault();
  const link = window.parent.document.createElement("a");
  link.href = event.currentTarget.href;
  window.parent.document.body.append(link);
  link.click();
  link.remove();
}

// Which rows this page is about: all, those of a run, or those of a task instance.
const place = location.pathname.slice(HOME.length).split("/").filter(Boolean).map(decodeURIComponent);
const fixed = {};
if (place[0] === "run") Object.assign(fixed, { dag_id: place[1], run_id: place.slice(2).join("/") });
if (place[0] === "task") {
  const [task_id, index] = place.slice(-2);
  // Of a task that is not mapped, Airflow leaves the placeholder as it is.
  Object.assign(fixed, { dag_id: place[1], run_id: place.slice(2, -2).join("/"), task_id, map_index: /^-?\d+$/.test(index) ? index : "-1" });
}
const state = { view: "gallery", offset: 0, batch: null };

function query(extra = {}) {
  const all = { ...Object.fromEntries(new FormData(find("filters"))), ...fixed, ...extra };
  return new URLSearchParams(Object.entries(all).filter(([, value]) => value !== "" && value !== null && value !== undefined));
}

function task_url(row) {
  const mapped = row.map_index >= 0 ? `/mapped/${row.map_index}` : "";
  return `${BASE}/dags/${path(row.dag_id)}/runs/${path(row.run_id)}/tasks/${path(row.task_id)}${mapped}`;
}

function task_link(row) {
  const name = `${row.dag_id} / ${row.run_id} / ${row.task_id}${row.map_index >= 0 ? ` [${row.map_index}]` : ""}`;
  return make("a", { href: task_url(row), onclick: open_outside }, name);
}

function player(row, big = false) {
  const video = make("video", { src: row.video_url, controls: true, preload: big ? "metadata" : "none", playsinline: true, loop: !big });
  if (!big) {
    // A poster of <video> is not lazy; an image is.
    video.hidden = Boolean(row.poster_url || row.image_url);
    video.muted = true;
  } else if (row.poster_url) video.poster = row.poster_url;
  return video;
}

function picture(row, lazy = true) {
  if (!row.image_url) return null;
  return make("img", { src: row.image_url, alt: `Source image ${row.image || ""}`, loading: lazy ? "lazy" : "eager", onerror: (event) => event.target.remove() });
}

// The server shows the source image where a video has no poster.
function poster(row) {
  if (!row.poster_url) return picture(row);
  const gone = (event) => { event.target.parentElement.querySelector("video").hidden = false; event.target.remove(); };
  return make("img", { class: "poster", src: row.poster_url, alt: `Video of ${row.image || row.prompt || ""}`, loading: "lazy", onerror: gone });
}

function sheet(row) {
  return row.sheet_url ? make("img", { class: "sheet", src: row.sheet_url, alt: "Contact sheet of the archive's first videos", loading: "lazy", onerror: (event) => event.target.remove() }) : null;
}

function screen(row) {
  const box = make("div", { class: row.video_url ? "screen" : "screen dim" }, poster(row));
  if (row.video_url) {
    const video = player(row);
    const play = () => { video.hidden = false; video.play().catch(() => {}); };
    box.append(video);
    box.addEventListener("mouseenter", play);
    box.addEventListener("mouseleave", () => { if (!video.controls || video.muted) video.pause(); });
    box.addEventListener("click", (event) => { if (event.target !== video) play(); });
  }
  box.append(make("span", { class: `badge ${row.group.replaceAll(" ", "-")}` }, row.group));
  return box;
}

function money(row) {
  const parts = [row.paid_by ? `paid by ${row.paid_by}` : dollars(row.cost_usd)];
  if (row.unknown_usd) parts.push(`${dollars(row.unknown_usd)} of unknown fate`);
  if (row.told_usd !== undefined) parts.push(`told ${dollars(row.told_usd)}`);
  return parts.join(", ");
}

function card(row) {
  if (row.kind === "batch") return batch_card(row);
  const facts = [row.at?.slice(0, 16).replace("T", " "), row.model, row.duration_seconds ? `${row.duration_seconds.toFixed(1)} s` : null];
  return make("article", { class: "card" }, screen(row), make("div", { class: "text" },
    make("div", { class: "prompt", title: row.prompt || "" }, row.prompt || row.key || ""),
    row.cause && row.group !== "made" ? make("div", { class: "cause" }, row.cause) : null,
    make("div", { class: "meta" }, [money(row), ...facts].filter(Boolean).join(" · ")),
    make("div", { class: "meta" }, task_link(row)),
    make("div", { class: "buttons" }, make("button", { type: "button", class: "details", onclick: () => show(row) }, "Details"))));
}

function counts_of(row) {
  const counts = Object.entries(row.counts || {}).map(([name, number]) => `${number} ${name}`).join(", ");
  const progress = row.progress && row.progress.images ? `${row.progress.finished} of ${row.progress.images} finished, ${row.progress.under_way} in flight, ${row.progress.minutes_left ?? "?"} minutes left` : "";
  return progress || counts || row.state;
}

function batch_card(row) {
  return make("article", { class: "card" }, sheet(row), make("div", { class: "text" },
    make("strong", {}, "Archive"), make("div", { class: "counts" }, counts_of(row)),
    make("div", { class: "meta" }, `${money(row)}${row.max_cost_usd ? ` of at most ${dollars(row.max_cost_usd)}` : ""}`),
    make("div", { class: "meta" }, task_link(row)),
    make("div", { class: "buttons" }, make("button", { type: "button", onclick: () => { state.batch = row; load(); } }, "Show its videos"))));
}

function facts(row) {
  const list = make("dl");
  const all = {
    State: row.group, Prompt: row.prompt, Cause: row.cause, "What to do": row.advice, Model: row.model, Gateway: row.gateway,
    Account: row.account, Length: row.duration_seconds ? `${row.duration_seconds.toFixed(1)} s` : null,
    Picture: row.width ? `${row.width} × ${row.height}` : null, Size: row.bytes ? `${row.bytes.toLocaleString("en")} bytes` : null,
    Price: row.price_usd === undefined ? "unknown" : dollars(row.price_usd), Cost: money(row), "Task id": row.veo_task_id,
    Image: row.image, Video: row.output || row.object, Receipt: row.receipt,
  };
  for (const [name, value] of Object.entries(all)) if (value) list.append(make("dt", {}, name), make("dd", {}, value));
  list.append(make("dt", {}, "Task"), make("dd", {}, task_link(row)));
  return list;
}

function single(row) {
  return make("div", { class: "single" },
    row.video_url ? make("div", { class: "screen" }, player(row, true)) : null,
    row.image_url ? make("div", { class: "screen" }, picture(row, false)) : null, facts(row));
}

function show(row) {
  find("dialog").replaceChildren(make("p", {}, make("button", { type: "button", onclick: () => find("dialog").close() }, "Close")), single(row));
  find("dialog").showModal();
}
find("dialog").addEventListener("close", () => find("dialog").replaceChildren());

function plot(days) {
  const width = Math.max(16, Math.min(46, 900 / Math.max(days.length, 1)));
  const most = Math.max(...days.map((one) => one.cost_usd), 0.01);
  const svg = make("svg", { width: days.length * width + 12, height: 132, role: "img", "aria-label": "Spend by day" });
  days.forEach((one, number) => {
    const height = Math.max(1, Math.round((one.cost_usd / most) * 84));
    svg.append(make("rect", { x: number * width + 2, y: 104 - height, width: width - 4, height, rx: 2 },
      make("title", {}, `${one.day}: ${dollars(one.cost_usd)}`)));
    if (width >= 36) svg.append(make("text", { x: number * width + 3, y: 118 }, one.day.slice(5)), make("text", { x: number * width + 3, y: 100 - height }, dollars(one.cost_usd)));
  });
  return make("div", { class: "plot" }, svg);
}

function table(rows, name, title) {
  const with_ceiling = rows.some((row) => row.max_cost_usd);
  const head = [title, "Videos", "Spend", "Unknown fate", ...(with_ceiling ? ["Ceiling"] : [])];
  const body = rows.map((row) => make("tr", {}, make("td", {}, row[name]), ...[row.videos, dollars(row.cost_usd), dollars(row.unknown_usd),
    ...(with_ceiling ? [row.max_cost_usd ? dollars(row.max_cost_usd) : "none"] : [])].map((value) => make("td", { class: "number" }, String(value)))));
  return make("table", {}, make("thead", {}, make("tr", {}, ...head.map((text, number) => make("th", { class: number ? "number" : "" }, text)))), make("tbody", {}, ...body));
}

function spend(found) {
  const link = make("button", { type: "button", id: "csv", onclick: download }, "Download as CSV");
  return make("div", {}, make("h2", {}, "By day"), plot(found.spend.day), table(found.spend.day, "day", "Day"),
    make("h2", {}, "By DAG"), table(found.spend.dag_id, "dag_id", "DAG"), make("h2", {}, "By model"), table(found.spend.model, "model", "Model"),
    make("h2", {}, "By account"), table(found.spend.account, "account", "Account"), make("p", {}, link));
}

async function download() {
  const token = localStorage.getItem("token");
  const response = await fetch(`${HOME}/api/spend.csv?${query()}`, { credentials: "same-origin", headers: token ? { Authorization: `Bearer ${token}` } : {} });
  const link = make("a", { href: URL.createObjectURL(await response.blob()), download: "veo-spend.csv" });
  link.click();
  URL.revokeObjectURL(link.href);
}

function people(found) {
  if (!found.people.length) return make("p", {}, "Nothing needs a person.");
  const list = make("div");
  let batch = "";
  for (const row of found.people) {
    if (row.in_batch && batch !== task_url(row)) list.append(batch_of_lost(row, found.clearable.includes(row.dag_id)));
    batch = row.in_batch ? task_url(row) : "";
    list.append(person(row));
  }
  return list;
}

// A batch's images are settled one by one, and its task is cleared once for all of them.
function batch_of_lost(row, may_clear) {
  const clear_it = async () => {
    try {
      await clear_task(row);
      await load();
      find("message").textContent = "The task was cleared: it continues with what is settled.";
    } catch (error) { find("message").textContent = error.message; }
  };
  return make("h2", { class: "batch" }, "Archive ", task_link(row), " ",
    may_clear ? make("button", { type: "button", class: "clear", onclick: clear_it }, "All settled: clear the task once") : null);
}

const clear_task = (row) => ask(`${BASE}/api/v2/dags/${path(row.dag_id)}/clearTaskInstances`, { method: "POST", headers: { "Content-Type": "application/json" },
  body: JSON.stringify({ dry_run: false, only_failed: false, dag_run_id: row.run_id, task_ids: [row.map_index >= 0 ? [row.task_id, row.map_index] : row.task_id] }) });

function candidates(row) {
  if (!row.candidates?.length) return null;
  const attach = (one) => send_answer(row, row.etag, { veo_task_id: one.veo_task_id }).catch((error) => { find("message").textContent = error.message; });
  return make("ul", { class: "candidates" }, ...row.candidates.map((one) => make("li", {},
    [one.veo_task_id, one.submitted_at ? `submitted ${one.submitted_at}` : null, one.status].filter(Boolean).join(", "), " ",
    make("button", { type: "button", class: "candidate", onclick: () => attach(one) }, "Attach this id"))));
}

function person(row) {
  return make("section", { class: "person" },
    make("strong", {}, row.key || row.prompt || row.image || row.veo_task_id || row.state), make("div", { class: "cause" }, row.cause || row.state),
    row.note ? make("div", { class: "note" }, row.note) : row.advice ? make("div", { class: "advice" }, row.advice) : null,
    candidates(row),
    make("div", { class: "meta" }, `${money(row)}${row.receipt ? ` · ${row.receipt}` : ""}${row.veo_task_id ? ` · ${row.veo_task_id}` : ""}`),
    make("div", { class: "meta" }, task_link(row)),
    row.may_settle
      ? make("div", { class: "buttons" }, make("button", { type: "button", class: "settle", onclick: () => settle(row) }, "Settle…")) : null);
}

// Settling: the receipt is read first, and is written only if it has not changed since.
const settle_url = (row) => `${HOME}/api/settle/${path(row.dag_id, row.task_id)}?${new URLSearchParams(
  { run_id: row.run_id, map_index: row.map_index, ...(row.in_batch ? { key: row.key } : {}) })}`;

async function send_answer(row, etag, answer) {
  const done = await ask(settle_url(row), { method: "POST", headers: { "Content-Type": "application/json", "If-Match": etag }, body: JSON.stringify(answer) });
  if (!row.in_batch) await clear_task(row);
  if (find("dialog").open) find("dialog").close();
  await load();
  find("message").textContent = `The receipt is ${done.state} now${row.in_batch ? ": settle the others of this archive, and then clear its task" : ", and the task was cleared"}.`;
}

async function settle(row) {
  const said = make("p", { class: "cause", role: "alert" });
  const id = make("input", { name: "veo_task_id", placeholder: "task id", size: 44 });
  const dialog = find("dialog");
  let lost = null;
  const send = async (answer) => {
    try { await send_answer(row, lost.etag, answer); } catch (error) { said.textContent = error.message; }
  };
  const price = lost_price(row);
  dialog.replaceChildren(make("h2", {}, "Was it submitted?"),
    make("p", {}, row.cause || ""), make("p", { id: "lost" }, "Reading the receipt…"),
    make("p", {}, id, " ", make("button", { type: "button", id: "attach", onclick: () => id.value.trim() && send({ veo_task_id: id.value.trim() }) }, "It is there: attach this id")),
    make("p", {}, make("button", { type: "button", id: "never", onclick: () => send({ never_happened: true }) }, "It never happened: submit again"),
      ` If the service has accepted it after all, the video is paid for twice: ${price} more.`),
    make("p", {}, make("button", { type: "button", onclick: () => dialog.close() }, "Cancel")), said);
  dialog.showModal();
  try {
    lost = await ask(settle_url(row));
    find("lost").textContent = `Claimed at ${lost.claimed_at || "an unknown time"} by ${lost.claimed_by}, with ${lost.account}.`;
  } catch (error) { said.textContent = error.message; }
}
const lost_price = (row) => (row.price_usd === undefined ? "its price" : dollars(row.price_usd));

function figures({ totals }) {
  const shown = [["videos", totals.videos, ""], ["spend", dollars(totals.cost_usd), ""],
    ...(totals.told_of_usd || totals.told_usd ? [[`told by the gateway, ${dollars(totals.told_of_usd)} expected`, dollars(totals.told_usd), totals.told_usd === totals.told_of_usd ? "" : "warn"]] : []),
    ...(totals.unknown_usd ? [["of unknown fate", dollars(totals.unknown_usd), "warn"]] : []),
    ["failures", totals.failed, totals.failed ? "bad" : ""], ["in flight", totals.in_flight, ""], ["needs a person", totals.needs_a_person, totals.needs_a_person ? "warn" : ""]];
  find("figures").replaceChildren(...shown.map(([label, value, kind]) =>
    make("div", { class: `figure ${kind}`, "data-figure": label }, make("b", {}, String(value)), make("span", {}, label))));
}

function choices(found) {
  for (const [name, values] of Object.entries(found.choices)) {
    const select = find("filters").elements[name], chosen = select.value;
    select.replaceChildren(make("option", { value: "" }, "all"), ...values.map((value) => make("option", { value }, value)));
    select.value = chosen;
  }
}

const VIEWS = { gallery: "Gallery", spend: "Spend", people: "Needs a person" };
function buttons() {
  find("views").replaceChildren(...Object.entries(VIEWS).map(([name, title]) => make("button", { type: "button", "data-view": name, "aria-pressed": String(state.view === name),
    onclick: () => { state.view = name; state.batch = null; load(); } }, title)),
  ...(state.batch ? [make("button", { type: "button", onclick: () => { state.batch = null; load(); } }, "Back to all")] : []));
}

let asked = 0;
async function load(more = false) {
  const number = ++asked;
  state.offset = more ? state.offset + 48 : 0;
  buttons();
  try {
    const extra = { offset: state.offset };
    const found = state.batch
      ? await ask(`${HOME}/api/batch/${path(state.batch.dag_id, state.batch.task_id)}?${query({ run_id: state.batch.run_id, map_index: state.batch.map_index, dag_id: "", task_id: "", ...extra })}`)
      : await ask(`${HOME}/api/videos?${query(state.view === "people" ? {} : extra)}`);
    if (state.view === "people" && !state.batch) Object.assign(found, await ask(`${HOME}/api/people?${query(extra)}`));
    if (number !== asked) return;
    draw(found, more);
  } catch (error) {
    if (number !== asked) return;
    find("content").replaceChildren();
    find("more").hidden = true;
    find("message").textContent = error.message;
  }
}

function draw(found, more) {
  if (found.totals) { figures(found); choices(found); }
  find("message").textContent = "";
  const gallery = state.view === "gallery" || state.batch;
  find("more").hidden = state.view === "spend" || !found.more;
  if (more && !gallery) return find("content").append(people(found));
  if (more) return find("content").firstChild.append(...found.rows.map(card));
  if (!gallery) return find("content").replaceChildren((state.view === "spend" ? spend : people)(found));
  if (!found.rows.length) find("message").textContent = place[0] === "task" ? "This task has made no Veo video." : "There is no Veo video here yet.";
  if (place[0] === "task" && found.rows.length === 1 && found.rows[0].kind === "video") return find("content").replaceChildren(single(found.rows[0]));
  const gallery_of = make("div", { class: "gallery" }, ...found.rows.map(card));
  return find("content").replaceChildren(gallery_of, ...(state.batch && found.sheet_url ? [sheet(found)] : []));
}

if (place.length) {
  for (const name of ["dag_id", "run_id"]) find("filters").elements[name].closest("label").hidden = true;
  if (place[0] === "task") for (const id of ["filters", "views", "figures"]) find(id).hidden = true;
}
find("filters").addEventListener("submit", (event) => event.preventDefault());
find("filters").addEventListener("change", () => load());
let typing = 0;
find("filters").elements.search.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(load, 300); });
find("more").addEventListener("click", () => load(true));
try { followTheme(); } catch (error) { console.warn(error); }
load();
// While a batch runs, its progress is read again.
if (place.length) setInterval(() => { if (find("content").querySelector(".counts") && !document.hidden && !state.offset) load(); }, 10000);
