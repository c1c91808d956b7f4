// Every service in a line, and one service whole.

import { facts, link, make, status, table, tags } from "./dom.js";

const STATUSES = ["passing", "warning", "critical"];

const counts = (instances) => {
  const shown = STATUSES.filter((word) => instances[capital(word)]);
  return shown.length ? shown.map((word) => status(word, instances[capital(word)])) : "no instance";
};

const capital = (word) => word[0].toUpperCase() + word.slice(1);

/// Where a service's stable address leads, with the reason when its port is another.
function stable(address) {
  if (!address) return "";
  const text = make("span.address", null, `${address.Address}:${address.Port}`);
  return make("span", { title: address.Moved }, text, address.Moved ? ` (${address.Moved})` : "");
}

export function services({ show, watch }) {
  let all = [];
  const search = make("input", { type: "search", placeholder: "Name or tag", "aria-label": "Name or tag", oninput: draw });
  const ill = make("input", { type: "checkbox", onchange: draw });
  const list = make("div");
  const count = make("span.quiet");
  show("Services", make("h1", null, "Services"),
    make("div.bar", null, search, make("label", null, ill, " with trouble only"), count), list);

  function draw() {
    const wanted = search.value.trim().toLowerCase();
    const matches = ({ Name, Tags, Instances }) =>
      [Name, ...(Tags ?? [])].some((text) => text.toLowerCase().includes(wanted)) &&
      (!ill.checked || Instances.Warning + Instances.Critical > 0);
    const found = all.filter(matches);
    // A browser is slow at ten thousand rows, and nobody reads them.
    const shown = found.slice(0, 500);
    count.textContent = shown.length < found.length ? `${shown.length} of ${found.length}: search for more` : `${found.length}`;
    const row = (one) => [link(one.Name, "services", one.Name), one.Kind, make("td", null, counts(one.Instances)),
      stable(one.Virtual), make("td", null, tags(one.Tags))];
    list.replaceChildren(table(["Name", "Kind", "Instances", "Stable address", "Tags"], shown.map(row),
      all.length ? "None of them matches." : "Nothing is registered yet: portolan register web --port 8080"));
  }

  watch("/v1/portolan/services", (value) => { all = value; draw(); });
}

export function service(name, { show, watch }) {
  const place = make("div", null, make("p.quiet", null, "…"));
  const about = make("div");
  show(name, make("h1", null, name), about, place);
  watch(`/v1/portolan/services`, (all) => {
    const one = all.find((service) => service.Name === name);
    about.replaceChildren(one ? facts([
      ["Kind", one.Kind],
      ["Names", make("span.address", null, `${name}.svc.internal, ${name}.service.consul`)],
      ["Stable address", stable(one.Virtual)],
      ["Tags", one.Tags?.length ? make("span", null, tags(one.Tags)) : ""],
      ["Changed at index", String(one.ModifyIndex)],
    ]) : make("p", null, "It is not registered (any more)."));
  });
  watch(`/v1/health/service/${encodeURIComponent(name)}`, (entries) => {
    place.replaceChildren(make("h2", null, "Instances"),
      table(["Instance", "Node", "Address", "Checks", "Tags", "Labels"], entries.map(instance), "No instance."));
  });
}

function instance({ Node: node, Service: own, Checks: checks }) {
  const labels = Object.entries(own.Meta ?? {}).map(([key, value]) => make("span.tag", null, `${key}=${value}`));
  return [own.ID, node.Node, make("span.address", null, `${own.Address || node.Address}:${own.Port}`),
    make("td", null, checks.map(check)), make("td", null, tags(own.Tags)), make("td", null, labels)];
}

function check({ Name, CheckID, Status, Output }) {
  const head = [status(Status), Name || CheckID];
  if (!Output) return make("div", null, head);
  return make("details", null, make("summary", null, head), make("pre", null, Output));
}
