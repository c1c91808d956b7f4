// Which room is shown. A room is a function of (parts of the path, signal, tools) that fills the page and
// keeps it true until the signal is aborted.

import { ask, token, watch } from "./api.js";
import { make } from "./dom.js";
import { exposures } from "./exposures.js";
import { keys } from "./keys.js";
import { nodes } from "./nodes.js";
import { rules } from "./rules.js";
import { service, services } from "./services.js";

const ROOMS = { services: "Services", nodes: "Nodes", rules: "Rules", exposures: "Exposures", keys: "Keys" };

const page = (id) => document.getElementById(id);
let leave = new AbortController();

function trouble(error) {
  const line = page("trouble");
  line.hidden = !error;
  line.textContent = error ? `${error.message} (asking again)` : "";
  if (error?.status === 403 && !page("ask").open) line.textContent = `${error.message}: show a token`;
}

function enter() {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  trouble(null);
  const [room = "services", ...rest] = location.hash.slice(2).split("/").filter(Boolean).map(decode);
  page("rooms").replaceChildren(...Object.entries(ROOMS).map(([name, title]) =>
    make("a", { href: `#/${name}`, "aria-current": name === room ? "page" : undefined }, title)));
  const show = (title, ...children) => {
    if (signal.aborted) return;
    document.title = `${title} · Portolan`;
    page("room").replaceChildren(...children);
  };
  const tools = { show, watch: (path, then) => watch(path, signal, then, trouble) };
  if (room === "services" && rest.length) service(rest[0], tools);
  else if (room === "services") services(tools);
  else if (room === "nodes") nodes(tools);
  else if (room === "rules") rules(tools);
  else if (room === "exposures") exposures(tools);
  else if (room === "keys") keys(rest.join("/"), tools);
  else show("Nothing", make("p", null, "There is no such room."));
}

/// A path typed by hand may hold a stray `%`.
function decode(part) {
  try { return decodeURIComponent(part); } catch { return part; }
}

page("token").addEventListener("click", () => {
  page("secret").value = token.get();
  page("ask").showModal();
});
page("ask").addEventListener("close", () => {
  if (page("ask").returnValue === "yes") token.set(page("secret").value.trim());
  page("secret").value = "";
  enter();
});
addEventListener("hashchange", () => { enter(); page("room").focus(); });
enter();
ask("/v1/portolan/status").then(({ value: { Own: own } }) => {
  page("self").textContent = [own.Node, own.Cluster, own.Mode, own.Version].filter(Boolean).join(" · ");
}, () => {});
