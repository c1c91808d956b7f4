// What shall be reachable from outside, and how far each chain holds on this node.

import { facts, link, make, status, table } from "./dom.js";

export function exposures({ show, watch }) {
  const own = make("div");
  const list = make("div");
  const trouble = make("div");
  show("Exposures", make("h1", null, "Exposures"), own, list, trouble);
  watch("/v1/portolan/exposures", (value) => {
    own.replaceChildren(facts([
      ["On this node", value.Node], ["Carried out", value.Enabled ? "yes" : "no: only planned"],
      ["Public address", value.PublicAddress], ["Between it and the world", value.Verdict],
      ["Routers", (value.Routers ?? []).join(", ")], ["Trouble", value.Trouble],
    ]));
    list.replaceChildren(table(["Service", "Port", "State", "Found at", "Links"], (value.Chains ?? []).map((chain) =>
      [make("td", null, link(chain.Service, "services", chain.Service)), chain.Port,
        make("td", null, status(chain.State === "open" ? "holds" : chain.State)), chain.URL ?? chain.Url,
        make("td", null, (chain.Links ?? []).filter((one) => one.State !== "none").map((one) =>
          make("span.tag", { title: one.Detail }, `${one.Link}: ${one.State}`)))]),
      "Nothing is exposed: portolan expose SERVICE PORT asks for it."));
    const lines = [...(value.Problems ?? []).map((one) => `${one.Attempted}: ${one.Cause}`), ...(value.Conflicts ?? []),
      ...(value.Complaints ?? []).map((one) => `${one.Service}: ${one.Tag}: ${one.Why}`)];
    trouble.replaceChildren(...lines.map((line) => make("p.critical", null, line)));
  });
}
