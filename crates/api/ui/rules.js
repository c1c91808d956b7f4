// Who may reach what, in the order in which it is asked, and the names that lead elsewhere.

import { facts, make, table } from "./dom.js";

const MODES = {
  open: "rules are not asked",
  observe: "everything passes; what would be denied is logged and counted",
  enforce: "what no rule allows is denied",
};

export function rules({ show, watch }) {
  const mode = make("div");
  const list = make("div");
  const redirections = make("div");
  show("Rules", make("h1", null, "Rules"), mode, list, make("h2", null, "Names that lead elsewhere"), redirections);
  watch("/v1/portolan/rules", (value) => {
    const all = value.Rules ?? [];
    mode.replaceChildren(facts([
      ["Mode", `${value.Mode}: ${MODES[value.Mode] ?? ""}`], ["Decided by none", String(value.Unmatched ?? 0)],
    ]));
    list.replaceChildren(table(["", "Says", "Who", "Service", "Only", "Decided here", "Written", "Note"],
      all.map((rule, at) => [at + 1, word(rule.Action), rule.Source, rule.Service === "*" ? "any" : rule.Service,
        [rule.Scheme, rule.Direction].filter(Boolean).join(", "), rule.Hits ?? 0, written(rule), rule.Note]),
      "There are no rules: portolan allow WHO SERVICE makes one."));
    redirections.replaceChildren(table(["Name", "Leads to", "Note"], (value.Redirections ?? []).map((one) =>
      [one.Name, (one.To ?? []).map((share) => `${share.To} (${share.Weight})`).join(", "), one.Note]),
      "None: portolan redirect NAME TO makes one."));
  });
}

const word = (action) => make("td", null,
  make(`span.mark.${action === "allow" ? "passing" : "critical"}`, null, `${action === "allow" ? "●" : "✕"} ${action}`));

const written = ({ File: file, Line: line, Local: local }) =>
  file ? `${file}${line ? `:${line}` : ""}` : local ? "this node's configuration" : "";
