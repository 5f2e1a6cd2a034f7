// SPDX-License-Identifier: GPL-3.0-or-later
// A look at one file: its text, its image, or what can be said of it.

import { $, asked, bytes, element, join, time } from "./tools.js";

const dialog = $("#preview");

export async function preview(found, place, address) {
  const query = { volume: place.volume, path: join(place.path, found.path) };
  $("#preview-name").textContent = found.name;
  $("#preview-about").textContent = "";
  $("#preview-download").href = address;
  const content = $("#preview-content");
  content.replaceChildren(element("p", {}, "…"));
  dialog.showModal();
  try {
    const seen = await asked("/api/preview", { query });
    $("#preview-about").textContent = `${bytes(seen.size)} · ${time(seen.modified)}${seen.cut ? " · only the beginning is shown" : ""}`;
    if (seen.kind === "text") content.replaceChildren(seen.text ? element("pre", {}, seen.text) : element("p", {}, "The file is empty."));
    else if (seen.kind === "image") content.replaceChildren(element("img", { src: `/api/image?${new URLSearchParams(query)}`, alt: found.name }));
    else content.replaceChildren(element("p", {}, "This kind of file is not shown. Download it to look at it."));
  } catch (error) {
    content.replaceChildren(element("p", {}, error.message));
  }
}
