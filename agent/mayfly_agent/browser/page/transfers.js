// SPDX-License-Identifier: GPL-3.0-or-later
// Archives on their way to the browser, files on their way back to their source, and how long all of it lasts.

import { $, ask, asked, bytes, element, icon, number, problem, span } from "./tools.js";

const IDLE_WARNING = 300; // seconds
const SOON = 1500; // milliseconds
const LATER = 10_000;
const SEEN = 20_000; // milliseconds that what is done stays
const closed = new Set();
const leaving = new Set();
let waiting = 0;

export async function archive(volume, path, paths, format) {
  try {
    const made = await asked("/api/downloads", { body: { volume, path, paths, format } });
    const link = element("a", { href: `/api/downloads/${made.id}`, download: made.name });
    document.body.append(link);
    link.click();
    link.remove();
    watch(500);
  } catch (error) {
    problem(error.message);
  }
}

export async function putBack(volume, path, paths, mode) {
  try {
    await ask("/api/put-back", { body: { volume, path, paths, mode } });
    watch(300);
  } catch (error) {
    problem(error.message);
  }
}

/** Look again after so many milliseconds, and then for as long as the page lives. */
export function watch(after) {
  clearTimeout(waiting);
  waiting = setTimeout(async () => {
    let next = LATER;
    try {
      const seen = await asked("/api/watch", { seconds: 30 });
      times(seen);
      const moving = list(seen);
      next = moving ? SOON : LATER;
    } catch (error) {
      if (error.status === 401 || error.status === 410) {
        document.dispatchEvent(new CustomEvent("refused", { detail: error }));
        return;
      }
      $("#left").textContent = error.message;
    }
    watch(next);
  }, after);
}

export function times({ idle_left: idle, time_left: left }) {
  $("#left").textContent = left < idle ? `ends in ${span(left)}` : `ends after ${span(idle)} without use, in ${span(left)} at the latest`;
  const soon = Math.min(idle, left) < IDLE_WARNING;
  $("#idle").hidden = !soon;
  $("#stay").hidden = left <= idle;
  if (soon) $("#idle span").textContent = left <= idle ? `The time of this recovery is over in ${span(left)}.` : `Nobody has used this page for a while: it ends in ${span(idle)}.`;
}

function list({ downloads, put_back: back }) {
  const shown = [...downloads.map(download), ...back.map(returned)].filter(Boolean);
  $("#transfers ul").replaceChildren(...shown);
  $("#transfers").hidden = shown.length === 0;
  return downloads.some((each) => ["waiting", "running"].includes(each.state)) || back.some((each) => ["waiting", "running"].includes(each.state));
}

function download(each) {
  if (closed.has(each.id)) return null;
  const { state, name, files, total_files: all, bytes: read, total_bytes: size, missing, id } = each;
  if (each.state === "done" && !each.missing && !leaving.has(each.id)) {
    leaving.add(each.id);
    setTimeout(() => {
      closed.add(each.id);
      watch(0);
    }, SEEN);
  }
  const done = { done: "Downloaded", broken: "Broken off", canceled: "Canceled" }[state];
  const of = (value, whole, show) => (whole === null ? show(value) : `${show(value)} of ${show(whole)}`);
  const text = `${done ? `${done}: ` : ""}${of(files, all, number)} files, ${of(read, size, bytes)}`;
  const bar = element("progress", { max: size || 1, value: size === null ? null : state === "done" ? size || 1 : read, "aria-label": name });
  const onclick = async () => {
    if (done) closed.add(id);
    else await ask(`/api/downloads/${id}/cancel`, { body: {} }).catch(() => {});
    watch(0);
  };
  return element(
    "li", {},
    element("b", { title: name }, name),
    element("button", { onclick, "aria-label": `${done ? "Forget" : "Cancel"} ${name}` }, icon("close")),
    done ? null : bar,
    element("small", { class: state === "broken" ? "problem" : "" }, text),
    missing ? element("small", { class: "problem" }, `${number(missing)} not in it; see the file at its end`) : null,
  );
}

function returned(each) {
  if (closed.has(each.id)) return null;
  const { state, message, files, bytes: size, mode, first, chosen, id } = each;
  const words = { waiting: "waits for the playbook", running: "is being put back", done: "Put back", failed: "Not put back" };
  const more = [files !== undefined && `${number(files)} files`, size !== undefined && bytes(size), message].filter(Boolean).join(", ");
  const over = ["done", "failed"].includes(state);
  const onclick = () => {
    closed.add(id);
    watch(0);
  };
  return element(
    "li", {},
    element("b", { title: first }, chosen > 1 ? `${first} and ${number(chosen - 1)} more` : first),
    over ? element("button", { onclick, "aria-label": "Forget it" }, icon("close")) : null,
    element("small", { class: state === "failed" ? "problem" : "" }, `${words[state]} (${mode})${more ? `: ${more}` : ""}`),
  );
}

$("#stay").addEventListener("click", async () => {
  try {
    times(await asked("/api/stay", { body: {} }));
  } catch (error) {
    problem(error.message);
  }
});
