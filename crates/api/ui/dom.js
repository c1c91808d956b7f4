// Elements from values. Everything that comes from the registry becomes a text node: a service may be called
// `<img onerror=…>` and is shown as just that.

/// An element: `make("td.number", {title: "…"}, child, …)`. Children are nodes or anything that is text.
export function make(kind, properties, ...children) {
  const [name, ...classes] = kind.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(properties ?? {})) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/// A link within this page; every part of the path is encoded.
export const link = (text, ...path) =>
  make("a", { href: "#/" + path.map(encodeURIComponent).join("/") }, text);

/// A table of rows, each an array of cells; a cell may be a node, text, or a number.
export function table(heads, rows, whenEmpty) {
  if (!rows.length) return make("p.quiet", null, whenEmpty);
  const cell = (value) => {
    if (value instanceof HTMLElement && value.tagName === "TD") return value;
    return make(typeof value === "number" ? "td.number" : "td", null, value ?? "");
  };
  return make("div.sheet", null, make("table", null,
    make("thead", null, make("tr", null, heads.map((head) => make("th", { scope: "col" }, head)))),
    make("tbody", null, rows.map((row) => make("tr", null, row.map(cell))))));
}

/// Names and values under each other; pairs whose value is empty are left out.
export const facts = (pairs) => make("dl", null,
  pairs.filter(([, value]) => value !== "" && value !== null && value !== undefined)
    .flatMap(([name, value]) => [make("dt", null, name), make("dd", null, value)]));

const SIGNS = { passing: "●", warning: "▲", critical: "✕", alive: "●", dead: "✕", holds: "●", waiting: "▲", broken: "✕" };

/// A status as sign and word: colour alone tells some people nothing.
export const status = (word, count) =>
  make(`span.mark.${word in SIGNS ? word : "waiting"}`, null, `${SIGNS[word] ?? "▲"} ${count ?? ""} ${word}`);

export const tags = (all) => (all ?? []).map((tag) => make("span.tag", null, tag));

/// Milliseconds as a person would say them.
export function span(ms) {
  const units = [["d", 86400000], ["h", 3600000], ["min", 60000], ["s", 1000]];
  const unit = units.find(([, size]) => ms >= size);
  return unit ? `${Math.floor(ms / unit[1])} ${unit[0]}` : `${Math.round(ms)} ms`;
}
