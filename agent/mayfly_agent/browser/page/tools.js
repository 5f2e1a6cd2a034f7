// SPDX-License-Identifier: GPL-3.0-or-later
// What all parts of the page need: the API, elements, sizes and times.

export const $ = (selector, below = document) => below.querySelector(selector);

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Ask the worker. Every question has a time limit; what is refused is thrown. */
export async function ask(path, { query, body, seconds = 70, signal } = {}) {
  const address = query ? `${path}?${new URLSearchParams(query)}` : path;
  const signals = [AbortSignal.timeout(seconds * 1000), ...(signal ? [signal] : [])];
  const options = { signal: AbortSignal.any(signals), cache: "no-store", credentials: "same-origin" };
  if (body !== undefined) {
    options.method = "POST";
    options.headers = { "content-type": "application/json" };
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(address, options);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refused(0, error.name === "TimeoutError" ? "The worker does not answer." : "The worker cannot be reached.");
  }
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    throw new Refused(answer.status, told.error ?? `The worker answered ${answer.status}.`);
  }
  return answer;
}

export const asked = async (...words) => (await ask(...words)).json();

/** An element with its attributes and what is in it; texts are only ever texts. */
export function element(name, attributes = {}, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== undefined && value !== null) made.setAttribute(key, value);
  }
  made.append(...content.filter((each) => each !== null && each !== undefined));
  return made;
}

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

export const number = (value) => value.toLocaleString();

export function bytes(value) {
  if (value === undefined || value === null) return "";
  if (value < 1024) return `${value} B`;
  const units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = -1;
  do {
    value /= 1024;
    unit += 1;
  } while (value >= 999.5 && unit < units.length - 1);
  return `${value.toLocaleString(undefined, { maximumSignificantDigits: 3 })} ${units[unit]}`;
}

/** A time as seconds since 1970, in the reader's time zone; the same width for each. */
export function time(seconds) {
  const when = new Date(seconds * 1000);
  if (Number.isNaN(when.getTime())) return "";
  const two = (value) => String(value).padStart(2, "0");
  const day = `${when.getFullYear()}-${two(when.getMonth() + 1)}-${two(when.getDate())}`;
  return `${day} ${two(when.getHours())}:${two(when.getMinutes())}`;
}

export function span(seconds) {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}

/** Paths are percent-encoded bytes. */
export const join = (base, path) => (base && path ? `${base}/${path}` : base || path);

export function problem(message) {
  const place = $("#problem");
  place.textContent = message ?? "";
  place.hidden = !message;
}
