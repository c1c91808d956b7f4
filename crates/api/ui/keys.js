// Keys and values, one folder at a time.

import { link, make, table } from "./dom.js";

export function keys(path, { show, watch }) {
  const folder = path.endsWith("/") || path === "";
  const trail = ["", ...path.split("/").filter(Boolean)].map((name, depth, all) => {
    const to = all.slice(1, depth + 1).join("/");
    const last = depth === all.length - 1;
    return [depth > 1 ? " / " : " ", last ? name || "Keys" : link(name || "Keys", "keys", to ? `${to}/` : "")];
  });
  const place = make("div", null, make("p.quiet", null, "…"));
  show(path || "Keys", make("h1", null, trail), place);
  if (folder) list(path, place, watch);
  else value(path, place, watch);
}

const encoded = (path) => path.split("/").map(encodeURIComponent).join("/");

function list(prefix, place, watch) {
  watch(`/v1/kv/${encoded(prefix)}?keys&separator=%2F`, (names) => {
    const row = (name) => [link(name.slice(prefix.length), "keys", name), name.endsWith("/") ? "folder" : "value"];
    place.replaceChildren(table(["Name", ""], names.map(row), "No keys."));
  });
}

function value(path, place, watch) {
  watch(`/v1/kv/${encoded(path)}`, ([entry]) => {
    if (!entry) return place.replaceChildren(make("p", null, "This key is not there (any more)."));
    place.replaceChildren(make("p.quiet", null,
      `Changed at index ${entry.ModifyIndex}, flags ${entry.Flags}` + (entry.Session ? `, locked by session ${entry.Session}` : "")),
    make("div.sheet", null, make("pre", null, text(entry.Value))));
  });
}

/// A value is bytes: shown as text when it is text, else in hexadecimal, its beginning only.
function text(base64) {
  const bytes = Uint8Array.from(atob(base64 ?? ""), (letter) => letter.charCodeAt(0));
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    const hex = [...bytes.slice(0, 1024)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    return `${bytes.length} bytes: ${hex}${bytes.length > 1024 ? " …" : ""}`;
  }
}
