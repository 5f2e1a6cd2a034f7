// SPDX-License-Identifier: GPL-3.0-or-later
// The table: a folder's page, or what a search has found.

import { $, ask, asked, bytes, element, icon, join, number, problem, time } from "./tools.js";
import { preview } from "./preview.js";
import { selection } from "./selection.js";

const PAGE = 200;
const CLASSES = { folder: "folder", file: "file", link: "link-to", other: "other" };
const body = $("#entries tbody");
export const place = { volume: "", path: "", sort: "name", order: "ascending", offset: 0, total: 0, words: "" };
let asking = new AbortController();

/** Show a folder. `focus` is the wire name of the entry to begin at, "" for the first, null for none. */
export async function show(to, focus = null) {
  if (to.volume !== place.volume || to.path !== place.path || place.words) selection.clear();
  Object.assign(place, { offset: 0, words: "" }, to);
  $("#words").value = "";
  const mine = begin();
  const { volume, path, sort, order, offset } = place;
  try {
    const found = await asked("/api/entries", {
      query: { volume, path, sort, order, offset, limit: PAGE },
      signal: mine.signal,
    });
    place.total = found.total;
    crumbs(found.parents);
    fill(found.entries);
    pages();
    const folders = found.folders ? `, ${number(found.folders)} ${found.folders === 1 ? "folder" : "folders"}` : "";
    $("#status").textContent = `${number(found.total)} ${found.total === 1 ? "entry" : "entries"}${folders}`;
    if (focus !== null) (row(focus) ?? body.rows[0])?.querySelector("td.name button")?.focus();
  } catch (error) {
    if (mine.signal.aborted) return;
    fail(error);
  } finally {
    if (mine === asking) busy(false);
  }
}

/** Look for names below the folder; what is found is shown as it comes. */
export async function search(words) {
  selection.clear();
  place.words = words;
  const mine = begin();
  pages();
  body.replaceChildren();
  sorted(false);
  const { volume, path } = place;
  let count = 0;
  let looked = 0;
  const tell = (end = "") => {
    $("#status").textContent = `${number(count)} found for “${words}”, ${number(looked)} looked at${end}`;
  };
  tell("…");
  try {
    const answer = await ask("/api/search", { query: { volume, path, words }, seconds: 180, signal: mine.signal });
    for await (const found of lines(answer.body)) {
      if (found.found) {
        body.append(entry(found.found));
        count += 1;
      }
      if (found.looked) looked = found.looked;
      tell("…");
      if (found.ended) {
        const unread = found.unreadable ? `, ${number(found.unreadable)} folders could not be read` : "";
        tell({ complete: unread, many: " – these are the first; say more of the name", late: " – it took too long" }[found.ended]);
      }
    }
    if (!count) nothing("Nothing below this folder has such a name.");
  } catch (error) {
    if (!mine.signal.aborted) fail(error);
  } finally {
    if (mine === asking) busy(false);
  }
}

export const files = (path) => `/api/file?${new URLSearchParams({ volume: place.volume, path: join(place.path, path) })}`;
export const again = () => (place.words ? search(place.words) : show({ ...place }));

export function above() {
  if (place.words) return go(place.volume, place.path);
  const parts = place.path.split("/");
  return place.path && go(place.volume, parts.slice(0, -1).join("/"), parts.at(-1));
}

/** Go to a folder, so that the browser's own Back comes back from it. */
export function go(volume, path, focus = "") {
  const hash = `#/${volume}${path ? `/${path}` : ""}`;
  if (hash !== location.hash) history.pushState(null, "", hash);
  return show({ volume, path, offset: 0 }, focus);
}

function begin() {
  asking.abort();
  asking = new AbortController();
  problem();
  busy(true);
  return asking;
}

function busy(is) {
  $("#browse").setAttribute("aria-busy", is);
}

function fail(error) {
  if (error.status === 401 || error.status === 410) {
    document.dispatchEvent(new CustomEvent("refused", { detail: error }));
    return;
  }
  problem(error.message);
  $("#status").textContent = "";
  body.replaceChildren();
}

function crumbs(parents) {
  const name = $(`#volumes [data-id="${CSS.escape(place.volume)}"] b`)?.textContent ?? place.volume;
  const steps = [{ path: "", name }, ...parents];
  const items = steps.map(({ path, name: text }, index) => {
    const here = index === steps.length - 1;
    const onclick = () => go(place.volume, path, here ? "" : (steps[index + 1].path.split("/").at(-1) ?? ""));
    return element("li", {}, element("button", { "aria-current": here && "location", onclick }, element("bdi", {}, text)));
  });
  $("#crumbs ol").replaceChildren(...items);
  document.title = `${steps.at(-1).name} – file recovery`;
}

function sorted(is = true) {
  for (const head of document.querySelectorAll("th[data-sort]")) {
    if (is && head.dataset.sort === place.sort) head.setAttribute("aria-sort", place.order);
    else head.removeAttribute("aria-sort");
    head.querySelector("button").disabled = !is;
  }
  $("#sorting").disabled = !is;
  $("#sorting").value = `${place.sort} ${place.order}`;
}

function pages() {
  const last = Math.max(1, Math.ceil(place.total / PAGE));
  const now = Math.floor(place.offset / PAGE) + 1;
  $("#pages").hidden = last === 1 || Boolean(place.words);
  $("#page").value = now;
  $("#page").max = last;
  $("#last").textContent = number(last);
  $("#previous").disabled = now === 1;
  $("#next").disabled = now === last;
}

function fill(entries) {
  sorted();
  body.replaceChildren(...entries.map(entry));
  if (!entries.length) nothing("This folder is empty.");
  selection.drawn();
}

function nothing(text) {
  body.replaceChildren(element("tr", { class: "empty" }, element("td", { colspan: 5 }, text)));
}

function entry(found) {
  const { name, path, kind, size, modified, target, folder, unreadable } = found;
  const line = element("tr", { class: CLASSES[kind], "data-path": path });
  line.found = found;
  const pick = element("input", { type: "checkbox", "aria-label": `Select ${name}` });
  pick.checked = selection.has(path);
  line.classList.toggle("picked", pick.checked);
  const more = [target && `→ ${target}`, folder && `in ${folder}`, unreadable && "cannot be read"].filter(Boolean).join(" · ");
  const label = element("span", {}, element("bdi", {}, name), more ? element("small", {}, element("bdi", {}, more)) : null);
  const open = element("button", { tabindex: -1, title: kind === "other" ? "A device, a pipe or a socket" : null }, icon(kind), label);
  const act = { folder: () => go(place.volume, join(place.path, path)), file: () => preview(found, place, files(path)) }[kind];
  if (act) open.addEventListener("click", act);
  else open.setAttribute("aria-disabled", "true");
  const cells = [
    element("td", { class: "pick" }, pick),
    element("td", { class: "name" }, open),
    element("td", { class: "size", title: kind === "file" ? `${number(size)} bytes` : null }, kind === "file" ? bytes(size) : ""),
    element("td", { class: "modified" }, modified === undefined ? "" : time(modified)),
    element("td", { class: "do" }, action(found)),
  ];
  line.append(...cells);
  return line;
}

function action({ kind, name, path }) {
  if (kind === "file") return element("a", { class: "button", href: files(path), download: true, "aria-label": `Download ${name}` }, icon("download"));
  if (kind !== "folder") return null;
  const onclick = () => document.dispatchEvent(new CustomEvent("archive", { detail: { paths: [path], format: "zip" } }));
  return element("button", { onclick, "aria-label": `Download ${name} as ZIP` }, icon("download"));
}

async function* lines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part);
  }
}

const row = (path) => (path ? body.querySelector(`tr[data-path="${CSS.escape(path)}"]`) : null);

function move(from, steps) {
  const rows = [...body.rows];
  const index = Math.min(rows.length - 1, Math.max(0, rows.indexOf(from) + steps));
  const button = rows[index]?.querySelector("td.name button");
  button?.focus();
  button?.scrollIntoView({ block: "nearest" });
}

/** Of all rows one is reached by Tab: the one that was used last, or the first. */
body.addEventListener("focusin", (event) => {
  for (const each of body.querySelectorAll('td.name button[tabindex="0"]')) each.tabIndex = -1;
  event.target.closest("tr")?.querySelector("td.name button")?.setAttribute("tabindex", 0);
});
new MutationObserver(() => {
  if (!body.querySelector('td.name button[tabindex="0"]')) body.querySelector("td.name button")?.setAttribute("tabindex", 0);
}).observe(body, { childList: true });

body.addEventListener("keydown", (event) => {
  const line = event.target.closest("tr");
  if (!line?.found || event.ctrlKey || event.metaKey) return;
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 15, PageUp: -15, Home: -Infinity, End: Infinity }[event.key];
  if (event.altKey && event.key !== "ArrowUp") return;
  if (event.key === "Backspace" || (event.altKey && event.key === "ArrowUp")) above();
  else if (steps) move(line, steps);
  else if (event.key === " " && event.target.type !== "checkbox") selection.turn(line);
  else if (event.key === "d" || event.key === "D") line.querySelector("td.do a, td.do button")?.click();
  else return;
  event.preventDefault();
});

for (const head of document.querySelectorAll("th[data-sort]")) {
  head.querySelector("button").addEventListener("click", () => {
    const turned = place.sort === head.dataset.sort ? place.order === "ascending" : head.dataset.sort !== "name";
    show({ ...place, sort: head.dataset.sort, order: turned ? "descending" : "ascending", offset: 0 });
  });
}
$("#sorting").addEventListener("change", (event) => {
  const [sort, order] = event.target.value.split(" ");
  show({ ...place, sort, order, offset: 0 });
});
const page = (to) => {
  const last = Math.max(1, Math.ceil(place.total / PAGE));
  show({ ...place, offset: (Math.min(last, Math.max(1, to || 1)) - 1) * PAGE }, "");
  scrollTo({ top: 0 });
};
$("#previous").addEventListener("click", () => page(place.offset / PAGE));
$("#next").addEventListener("click", () => page(place.offset / PAGE + 2));
$("#page").addEventListener("change", (event) => page(Math.floor(Number(event.target.value))));
