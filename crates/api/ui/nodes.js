// The hosts: who votes, who leads, who sees whom.

import { facts, make, span, status, table } from "./dom.js";

export function nodes({ show, watch }) {
  const own = make("div");
  const list = make("div");
  show("Nodes", make("h1", null, "Nodes"), own, list);
  let last = [];
  let members = [];

  function draw() {
    const seen = new Map(last.map((node) => [node.Node, node]));
    const rows = members.map((member) => {
      const node = seen.get(member.Name);
      const role = [member.Role, member.Votes ? "votes" : "", member.Leads ? "leads" : ""].filter(Boolean).join(", ");
      return [member.Name, make("td", null, status(member.Status)), role, node?.AppliedIndex ?? "",
        make("td", null, (node?.Links ?? []).map(reach)), node ? certificate(node) : "", node?.Version ?? "",
        make("span.address", null, (member.Addresses ?? []).join(", "))];
    });
    list.replaceChildren(table(["Node", "Status", "Role", "Applied", "Reaches", "Certificate", "Version", "Mesh"], rows,
      "This host is alone: portolan init, then portolan token create and portolan join on the next host."));
  }

  watch("/v1/portolan/members", (value) => { members = value; draw(); });
  watch("/v1/portolan/status?all", (value) => {
    last = [value.Own, ...(value.Others ?? [])];
    const one = value.Own;
    own.replaceChildren(facts([
      ["This node", one.Node], ["Cluster", one.Cluster], ["Rules", one.Mode], ["Order carried by", one.Engine],
      ["Leader", one.Leader], ["Decided", String(one.DecidedIndex)], ["Trouble", one.Problem],
      ["Silent", (value.Silent ?? []).map((node) => `${node.Node}: ${node.Problem}`).join("; ")],
    ]));
    draw();
  });
}

function reach({ Peer, Up, RoundTripUs, Problem }) {
  const trip = RoundTripUs === undefined ? "" : ` ${(RoundTripUs / 1000).toFixed(1)} ms`;
  return make(`span.mark.${Up ? "alive" : "dead"}`, { title: Problem }, `${Up ? "●" : "✕"} ${Peer}${trip}`);
}

function certificate({ CertificateEndsS: ends }) {
  if (!ends) return "";
  const left = ends * 1000 - Date.now();
  return left > 0 ? `${span(left)} left` : make("span.critical", null, "expired");
}
