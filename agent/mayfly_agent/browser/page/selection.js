// SPDX-License-Identifier: GPL-3.0-or-later
// What is chosen in the folder, on whatever of its pages.

import { $, bytes, number } from "./tools.js";

const MOST = 10_000;
const body = $("#entries tbody");
const chosen = new Map();
let everything = false;
let total = () => 0;

export const selection = {
  has: (path) => everything || chosen.has(path),
  /** Paths below the folder; "" is all of it. */
  paths: () => (everything ? [""] : [...chosen.keys()]),
  /** `count` tells how many entries the folder has, 0 when it cannot be chosen as a whole. */
  counts(count) {
    total = count;
  },
  clear() {
    chosen.clear();
    everything = false;
    selection.drawn();
  },
  turn(line, to = !selection.has(line.found.path)) {
    if (everything) {
      everything = false;
      chosen.clear();
      for (const each of body.rows) chosen.set(each.found.path, each.found);
    }
    if (to) chosen.set(line.found.path, line.found);
    else chosen.delete(line.found.path);
    selection.drawn();
  },
  drawn() {
    const rows = [...body.rows].filter((line) => line.found);
    for (const line of rows) {
      const is = selection.has(line.found.path);
      line.classList.toggle("picked", is);
      line.querySelector(".pick input").checked = is;
    }
    const here = rows.filter((line) => selection.has(line.found.path)).length;
    $("#all").checked = rows.length > 0 && here === rows.length;
    $("#all").indeterminate = here > 0 && here < rows.length;
    const count = everything ? total() : chosen.size;
    $("#selection").hidden = count === 0;
    const folders = everything || [...chosen.values()].some((each) => each.kind === "folder");
    const size = [...chosen.values()].reduce((sum, each) => sum + (each.kind === "file" ? (each.size ?? 0) : 0), 0);
    $("#selection p").textContent = `${number(count)} selected${folders ? "" : `, ${bytes(size)}`}`;
    $("#everything").hidden = everything || !total() || here < rows.length || total() <= chosen.size;
    $("#everything").textContent = `Select all ${number(total())} in this folder`;
    const many = chosen.size > MOST;
    for (const id of ["zip", "tar", "put-back"]) $(`#${id}`).disabled = many || (id === "put-back" && everything);
    if (many) $("#selection p").textContent += ` – more than ${number(MOST)} only as a whole folder`;
  },
};

body.addEventListener("change", (event) => {
  if (event.target.matches(".pick input")) selection.turn(event.target.closest("tr"), event.target.checked);
});
$("#all").addEventListener("change", (event) => {
  const lines = [...body.rows].filter((line) => line.found);
  if (!event.target.checked && everything) return selection.clear();
  for (const line of lines) {
    if (event.target.checked) chosen.set(line.found.path, line.found);
    else chosen.delete(line.found.path);
  }
  return selection.drawn();
});
$("#everything").addEventListener("click", () => {
  everything = true;
  chosen.clear();
  selection.drawn();
});
$("#nothing").addEventListener("click", () => selection.clear());
