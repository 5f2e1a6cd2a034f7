// SPDX-License-Identifier: GPL-3.0-or-later
// The page: in with the token, then volumes, folders, and out.

import { $, ask, asked, bytes, element, icon, problem } from "./tools.js";
import { above, go, place, search, show } from "./folder.js";
import { selection } from "./selection.js";
import { archive, putBack, times, watch } from "./transfers.js";

const screens = ["locked", "ended", "app"];
let recovery = { volumes: [] };

function screen(name) {
  for (const each of screens) $(`#${each}`).hidden = each !== name;
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  if (name === "locked") $("#token").focus();
}

/** The token stands in the address until the page has seen it, and nowhere after that. */
async function enter() {
  const hash = location.hash.slice(1);
  if (hash && !hash.startsWith("/")) {
    history.replaceState(null, "", "/");
    return unlock(hash);
  }
  return load();
}

async function unlock(token) {
  try {
    await ask("/api/session", { body: { token } });
  } catch (error) {
    return refused(error);
  }
  return load();
}

function refused(error) {
  if (error.status === 410) return screen("ended");
  screen("locked");
  const why = $("#locked-why");
  if (error.status !== 401 || error.message.includes("does not")) {
    why.textContent = error.message;
    why.classList.add("wrong");
  }
  return undefined;
}

async function load() {
  try {
    recovery = await asked("/api/recovery");
  } catch (error) {
    return refused(error);
  }
  const { source, volumes, put_back: back } = recovery;
  screen("app");
  $("#source").textContent = `of ${source.name}${source.id && source.id !== source.name ? ` (${source.id})` : ""}`;
  $("#putting-back h2 span").textContent = source.name;
  $("#put-back").hidden = !back.length;
  for (const radio of document.querySelectorAll("#putting-back [name=mode]")) radio.closest("label").hidden = !back.includes(radio.value);
  times(recovery);
  $("#volumes").replaceChildren(...volumes.map(volume));
  watch(5000);
  return route();
}

function volume({ id, name, file_system: system, size, restore_point: point, note, shown }) {
  const when = point && new Date(point);
  const about = [system, size ? bytes(size) : "", when ? when.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }) : "", note];
  const onclick = () => go(id, "");
  return element(
    "button", { "data-id": id, disabled: !shown, onclick },
    icon("volume"),
    element("b", {}, element("bdi", {}, name)),
    element("small", {}, about.filter(Boolean).join(" · ")),
  );
}

/** What the address says: #/VOLUME/PATH. */
function route() {
  const [, id = "", ...parts] = location.hash.slice(1).split("/");
  const first = recovery.volumes.find((each) => each.shown);
  const known = recovery.volumes.find((each) => each.id === id && each.shown);
  if (!first) {
    problem("No volume of this recovery can be shown.");
    return undefined;
  }
  const to = known ?? first;
  return show({ volume: to.id, path: known ? parts.join("/") : "" }, "");
}

function current() {
  for (const each of document.querySelectorAll("#volumes button")) each.setAttribute("aria-current", each.dataset.id === place.volume);
}
new MutationObserver(current).observe($("#crumbs ol"), { childList: true });
selection.counts(() => (place.words ? 0 : place.total));

addEventListener("popstate", () => {
  if (!$("#app").hidden) route();
});
document.addEventListener("refused", (event) => refused(event.detail));
document.addEventListener("archive", ({ detail: { paths, format } }) => archive(place.volume, place.path, paths, format));
$("#zip").addEventListener("click", () => archive(place.volume, place.path, selection.paths(), "zip"));
$("#tar").addEventListener("click", () => archive(place.volume, place.path, selection.paths(), "tar.zst"));
$("#put-back").addEventListener("click", () => $("#putting-back").showModal());
$("#put-back-form").addEventListener("submit", (event) => {
  putBack(place.volume, place.path, selection.paths(), new FormData(event.target).get("mode"));
});
$("#unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  const token = $("#token").value.trim();
  $("#token").value = "";
  unlock(token.includes("#") ? token.slice(token.indexOf("#") + 1) : token);
});
$("#search").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = $("#words").value.trim();
  if (words) search(words);
  else show({ ...place });
});
$("#words").addEventListener("search", () => {
  if (!$("#words").value && place.words) show({ volume: place.volume, path: place.path });
});
$("#end").addEventListener("click", () => $("#ending").showModal());
$("#end-now").addEventListener("click", async () => {
  try {
    await ask("/api/end", { body: {} });
    screen("ended");
  } catch (error) {
    refused(error);
  }
});
for (const button of document.querySelectorAll("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());

document.addEventListener("keydown", (event) => {
  if ($("#app").hidden || document.querySelector("dialog[open]") || event.ctrlKey || event.metaKey) return;
  const typing = event.target.matches("input:not([type=checkbox]), select");
  if (event.key === "Escape") {
    if (typing) event.target.blur();
    else selection.clear();
  } else if (event.key === "/" && !typing) {
    $("#words").focus();
  } else if (event.key === "Backspace" && !typing && event.target === document.body) {
    above();
  } else if (event.key === "ArrowDown" && event.target === document.body) {
    $('td.name button[tabindex="0"]')?.focus();
  } else return;
  event.preventDefault();
});

enter();
