"""Sends the same requests about access control lists to a real Consul and to us and compares.
usage: beside_consul_acl.py CONSUL_PORT OUR_PORT

What must be equal: the status, and the body with ids, indexes, times and the like left out; of a refusal, its first
words. What differs on purpose is in INTENDED, with the reason; an entry there that does not differ any more is a
failure, too. Both begin with their lists on, nothing allowed by default, and no token made.
"""
import json
import re
import sys
import urllib.error
import urllib.request

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
NONE = "00000000-0000-0000-0000-0000000000aa"
ANONYMOUS = "00000000-0000-0000-0000-000000000002"
MANAGEMENT = "00000000-0000-0000-0000-000000000001"
FREE = "11111111-2222-3333-4444-555555555555"
# Fields of one side's version, of its own life, or of no meaning here.
LEFT_OUT = {"CreateIndex", "ModifyIndex", "LTime", "Hash", "CreateTime", "ExpirationTime", "Proxy", "Connect", "Definition",
            "Interval", "Timeout", "ExposedPort", "PeerName", "Partition", "Namespace", "TaggedAddresses", "Coord",
            "Member", "Meta", "NodeMeta", "ServiceTaggedAddresses"}

HASHED = "secrets are told once; Consul keeps them"
NEWER = "404 since Consul 1.12"
REFUSED = "rules with words that are none are refused; Consul takes them for none"
INTENDED = {
    "all tokens": "lists have SecretID since Consul 1.12",
    "tokens with the policy": "the same",
    "tokens with the role": "the same",
    "a token by its accessor": HASHED,
    "change a token": HASHED,
    "the token after its policy went": HASHED,
    "no such policy": NEWER,
    "no policy of that name": NEWER,
    "no such token": NEWER,
    "clone no token": NEWER,
    "rules about what is not": REFUSED,
    "translate rules": "the language before 1.4 is not there",
    "tokens of old": "the API before 1.4 is not there",
    "a token of old": "the same",
    "methods": "authentication methods are not there",
    "binding rules": "the same",
    "log in": "the same",
    "log out": "the same",
    "read what may not be read in a transaction": "whether it exists is not told",
    "deregister what is not there": "it is not told to whoever may not write the node",
    "a check that is not there goes": "the same",
    "an unknown instance of ours goes": "what is not there is deregistered already, for those who may",
    "report on what is not there": "404, as Consul does since 1.13",
    "an accessor that is none": "told as such, and not as an error of Consul's index",
    "the policy for everything": "its rules name our own resources, too",
}

# token, name, method, path, body; a name in capitals stands for the id (NAME) and the secret (NAME_S) of the answer.
ROOT, MINE, NOBODY, UNKNOWN = "ROOT_S", "MINE_S", None, "nobody-knows-this"
WORDS = ('key_prefix "a/" { policy = "write" } key "a/no" { policy = "deny" } service "web" { policy = "write" } '
         'node "x1" { policy = "write" } session "x1" { policy = "write" } event "dep" { policy = "write" }')


def rules(text):
    return {"Name": "refused", "Rules": text}


STEPS = [
    (NOBODY, "before there is a token", "GET", "/v1/acl/tokens", None),
    (NOBODY, "ROOT", "PUT", "/v1/acl/bootstrap", ""),
    (NOBODY, "once more", "PUT", "/v1/acl/bootstrap", ""),
    (NOBODY, "bootstrap by POST", "POST", "/v1/acl/bootstrap", ""),
    (ROOT, "who am I", "GET", "/v1/acl/token/self", None),
    (NOBODY, "who is nobody", "GET", "/v1/acl/token/self", None),
    (UNKNOWN, "who is unknown", "GET", "/v1/acl/token/self", None),
    (UNKNOWN, "an unknown token reads a key", "GET", "/v1/kv/a", None),
    (UNKNOWN, "an unknown token asks who leads", "GET", "/v1/catalog/datacenters", None),
    (NOBODY, "nobody lists tokens", "GET", "/v1/acl/tokens", None),
    (ROOT, "all tokens", "GET", "/v1/acl/tokens", None),
    (ROOT, "all policies", "GET", "/v1/acl/policies", None),
    (ROOT, "the policy for everything", "GET", f"/v1/acl/policy/{MANAGEMENT}", None),
    (ROOT, "no roles yet", "GET", "/v1/acl/roles", None),
    (ROOT, "the token for nobody", "GET", f"/v1/acl/token/{ANONYMOUS}", None),
    (ROOT, "READ", "PUT", "/v1/acl/policy",
     {"Name": "read", "Description": "d", "Rules": 'key_prefix "" { policy = "read" }'}),
    (ROOT, "the same name again", "PUT", "/v1/acl/policy", {"Name": "read", "Rules": ""}),
    (ROOT, "a policy without a name", "PUT", "/v1/acl/policy", {"Rules": ""}),
    (ROOT, "a policy with a bad name", "PUT", "/v1/acl/policy", {"Name": "a b"}),
    (ROOT, "rules about what is not", "PUT", "/v1/acl/policy", rules('nope "a" { policy = "read" }')),
    (ROOT, "a policy with an id", "PUT", "/v1/acl/policy", {"ID": "READ", "Name": "x"}),
    (ROOT, "a policy without a body", "PUT", "/v1/acl/policy", None),
    (ROOT, "a policy by its id", "GET", "/v1/acl/policy/READ", None),
    (ROOT, "a policy by its name", "GET", "/v1/acl/policy/name/read", None),
    (ROOT, "no such policy", "GET", f"/v1/acl/policy/{NONE}", None),
    (ROOT, "no policy of that name", "GET", "/v1/acl/policy/name/nope", None),
    (ROOT, "a policy without its id", "GET", "/v1/acl/policy/", None),
    (ROOT, "a policy without its name", "GET", "/v1/acl/policy/name/", None),
    (ROOT, "change a policy", "PUT", "/v1/acl/policy/READ",
     {"Name": "read", "Description": "e", "Rules": 'key_prefix "" { policy = "read" }'}),
    (ROOT, "change another policy", "PUT", "/v1/acl/policy/READ", {"ID": NONE, "Name": "read"}),
    (ROOT, "change no policy", "PUT", f"/v1/acl/policy/{NONE}", {"Name": "zz"}),
    (ROOT, "change the rules for everything", "PUT", f"/v1/acl/policy/{MANAGEMENT}",
     {"Name": "global-management", "Rules": 'acl = "read"'}),
    (ROOT, "delete the rules for everything", "DELETE", f"/v1/acl/policy/{MANAGEMENT}", None),
    (ROOT, "delete no policy", "DELETE", f"/v1/acl/policy/{NONE}", None),
    (NOBODY, "nobody makes a policy", "PUT", "/v1/acl/policy", {"Name": "q"}),
    (ROOT, "ELSEWHERE", "PUT", "/v1/acl/policy", {"Name": "elsewhere", "Rules": WORDS, "Datacenters": ["dc9"]}),
    (ROOT, "ONE", "PUT", "/v1/acl/token", {"Description": "one", "Policies": [{"Name": "read"}]}),
    (ROOT, "a token without a body", "PUT", "/v1/acl/token", None),
    (ROOT, "a token of no policy", "PUT", "/v1/acl/token", {"Policies": [{"Name": "nope"}]}),
    (ROOT, "a token of no policy's id", "PUT", "/v1/acl/token", {"Policies": [{"ID": NONE}]}),
    (ROOT, "a token of no role", "PUT", "/v1/acl/token", {"Roles": [{"Name": "nope"}]}),
    (ROOT, "a reserved accessor", "PUT", "/v1/acl/token", {"AccessorID": "00000000-0000-0000-0000-000000000042"}),
    (ROOT, "a reserved secret", "PUT", "/v1/acl/token", {"SecretID": "00000000-0000-0000-0000-000000000042"}),
    (ROOT, "an accessor that is none", "PUT", "/v1/acl/token", {"AccessorID": "xyz"}),
    (ROOT, "a secret that is none", "PUT", "/v1/acl/token", {"SecretID": "xyz"}),
    (ROOT, "chosen ids", "PUT", "/v1/acl/token", {"AccessorID": FREE, "SecretID": FREE.replace("1", "9")}),
    (ROOT, "the same accessor again", "PUT", "/v1/acl/token", {"AccessorID": FREE}),
    (ROOT, "the same secret again", "PUT", "/v1/acl/token", {"SecretID": FREE.replace("1", "9")}),
    (ROOT, "a token for an hour", "PUT", "/v1/acl/token", {"ExpirationTTL": "1h"}),
    (ROOT, "a token for a second", "PUT", "/v1/acl/token", {"ExpirationTTL": "1s"}),
    (ROOT, "a token for two days", "PUT", "/v1/acl/token", {"ExpirationTTL": "48h"}),
    (ROOT, "a token for less than nothing", "PUT", "/v1/acl/token", {"ExpirationTTL": "-5s"}),
    (ROOT, "a token with two ends", "PUT", "/v1/acl/token",
     {"ExpirationTTL": "1h", "ExpirationTime": "2090-01-01T00:00:00Z"}),
    (ROOT, "a token of the past", "PUT", "/v1/acl/token", {"ExpirationTime": "2020-01-01T00:00:00Z"}),
    (ROOT, "SERVICE", "PUT", "/v1/acl/token", {"ServiceIdentities": [{"ServiceName": "web"}]}),
    (ROOT, "NODE", "PUT", "/v1/acl/token", {"NodeIdentities": [{"NodeName": "n9", "Datacenter": "dc1"}]}),
    (ROOT, "a service of a bad name", "PUT", "/v1/acl/token", {"ServiceIdentities": [{"ServiceName": "Web!"}]}),
    (ROOT, "a service without a name", "PUT", "/v1/acl/token", {"ServiceIdentities": [{"ServiceName": ""}]}),
    (ROOT, "a node without a datacenter", "PUT", "/v1/acl/token", {"NodeIdentities": [{"NodeName": "a"}]}),
    (ROOT, "a node without a name", "PUT", "/v1/acl/token",
     {"NodeIdentities": [{"NodeName": "", "Datacenter": "dc1"}]}),
    (ROOT, "a local token", "PUT", "/v1/acl/token", {"Local": True}),
    (ROOT, "a token by a method", "PUT", "/v1/acl/token", {"AuthMethod": "x"}),
    (ROOT, "a token by its accessor", "GET", "/v1/acl/token/ONE", None),
    ("ONE_S", "by its own secret", "GET", "/v1/acl/token/ONE", None),
    ("ONE_S", "itself", "GET", "/v1/acl/token/self", None),
    (ROOT, "no such token", "GET", f"/v1/acl/token/{NONE}", None),
    (ROOT, "a token without its accessor", "GET", "/v1/acl/token/", None),
    (ROOT, "change a token", "PUT", "/v1/acl/token/ONE", {"Description": "two", "Policies": [{"ID": "READ"}]}),
    (ROOT, "change its secret", "PUT", "/v1/acl/token/ONE", {"SecretID": FREE}),
    (ROOT, "change its accessor", "PUT", "/v1/acl/token/ONE", {"AccessorID": FREE}),
    (ROOT, "make it local", "PUT", "/v1/acl/token/ONE", {"Local": True}),
    (ROOT, "change no token", "PUT", f"/v1/acl/token/{NONE}", {"Description": "x"}),
    (ROOT, "CLONE", "PUT", "/v1/acl/token/ONE/clone", {"Description": "cloned"}),
    (ROOT, "clone without a body", "PUT", "/v1/acl/token/ONE/clone", None),
    (ROOT, "clone no token", "PUT", f"/v1/acl/token/{NONE}/clone", {}),
    (ROOT, "delete one's own", "DELETE", "/v1/acl/token/ROOT", None),
    (ROOT, "delete nobody's", "DELETE", f"/v1/acl/token/{ANONYMOUS}", None),
    (ROOT, "delete no token", "DELETE", f"/v1/acl/token/{NONE}", None),
    (ROOT, "delete a token", "DELETE", f"/v1/acl/token/{FREE}", None),
    (ROOT, "ROLE", "PUT", "/v1/acl/role", {
        "Name": "role", "Description": "x", "Policies": [{"Name": "read"}],
        "ServiceIdentities": [{"ServiceName": "db", "Datacenters": ["dc1"]}]}),
    (ROOT, "the same role again", "PUT", "/v1/acl/role", {"Name": "role"}),
    (ROOT, "a role without a name", "PUT", "/v1/acl/role", {"Description": "r"}),
    (ROOT, "a role with a bad name", "PUT", "/v1/acl/role", {"Name": "r r"}),
    (ROOT, "a role of no policy", "PUT", "/v1/acl/role", {"Name": "r2", "Policies": [{"Name": "nope"}]}),
    (ROOT, "a role by its id", "GET", "/v1/acl/role/ROLE", None),
    (ROOT, "a role by its name", "GET", "/v1/acl/role/name/role", None),
    (ROOT, "no such role", "GET", f"/v1/acl/role/{NONE}", None),
    (ROOT, "no role of that name", "GET", "/v1/acl/role/name/nope", None),
    (ROOT, "change a role", "PUT", "/v1/acl/role/ROLE", {"Name": "role2", "Policies": [{"Name": "read"}]}),
    (ROOT, "change no role", "PUT", f"/v1/acl/role/{NONE}", {"Name": "r3"}),
    (ROOT, "all roles", "GET", "/v1/acl/roles", None),
    (ROOT, "roles with the policy", "GET", "/v1/acl/roles?policy=READ", None),
    (ROOT, "WITHROLE", "PUT", "/v1/acl/token", {"Roles": [{"Name": "role2"}]}),
    ("WITHROLE_S", "a role's policy counts", "GET", "/v1/kv/nothing", None),
    (ROOT, "tokens with the policy", "GET", "/v1/acl/tokens?policy=READ", None),
    (ROOT, "tokens with the role", "GET", "/v1/acl/tokens?role=ROLE", None),
    (ROOT, "delete a role", "DELETE", "/v1/acl/role/ROLE", None),
    ("WITHROLE_S", "and counts no more", "GET", "/v1/kv/nothing", None),
    (ROOT, "delete a policy", "DELETE", "/v1/acl/policy/READ", None),
    (ROOT, "the token after its policy went", "GET", "/v1/acl/token/ONE", None),
    ("ONE_S", "it lists tokens", "GET", "/v1/acl/tokens", None),
    (NOBODY, "replication", "GET", "/v1/acl/replication", None),
    (ROOT, "methods", "GET", "/v1/acl/auth-methods", None),
    (ROOT, "binding rules", "GET", "/v1/acl/binding-rules", None),
    (ROOT, "log in", "POST", "/v1/acl/login", {}),
    (ROOT, "log out", "POST", "/v1/acl/logout", ""),
    (ROOT, "translate rules", "POST", "/v1/acl/rules/translate", 'key "" { policy = "read" }'),
    (ROOT, "tokens of old", "GET", "/v1/acl/list", None),
    (ROOT, "a token of old", "PUT", "/v1/acl/create", {"Name": "l", "Type": "client"}),
    (ROOT, "a token for the agent", "PUT", "/v1/agent/token/agent", {"Token": "ONE_S"}),
    (ROOT, "a token for what is not", "PUT", "/v1/agent/token/foo", {"Token": "ONE_S"}),
    (NOBODY, "nobody sets a token", "PUT", "/v1/agent/token/agent", {"Token": "ONE_S"}),
    # What they allow.
    (ROOT, "OWN", "PUT", "/v1/acl/policy", {"Name": "own", "Rules": WORDS}),
    (ROOT, "MINE", "PUT", "/v1/acl/token", {"Policies": [{"Name": "own"}]}),
    (ROOT, "FAR", "PUT", "/v1/acl/token", {"Policies": [{"Name": "elsewhere"}]}),
    ("FAR_S", "a policy for another datacenter", "PUT", "/v1/kv/a/x", "v"),
    (MINE, "a node of mine", "PUT", "/v1/catalog/register",
     {"Node": "x1", "Address": "1.1.1.1", "Service": {"Service": "web"}}),
    (MINE, "a node of others", "PUT", "/v1/catalog/register", {"Node": "x2", "Address": "1.1.1.1"}),
    (ROOT, "others make it", "PUT", "/v1/catalog/register",
     {"Node": "x2", "Address": "1.1.1.1", "Service": {"Service": "db"}}),
    (MINE, "my service on it", "PUT", "/v1/catalog/register",
     {"Node": "x2", "Address": "1.1.1.1", "Service": {"Service": "web"}}),
    (MINE, "their service on mine", "PUT", "/v1/catalog/register",
     {"Node": "x1", "Address": "1.1.1.1", "Service": {"Service": "db"}}),
    (MINE, "their id for mine", "PUT", "/v1/catalog/register",
     {"Node": "x2", "Address": "1.1.1.1", "Service": {"ID": "db", "Service": "web"}}),
    (MINE, "a check of their node", "PUT", "/v1/catalog/register",
     {"Node": "x2", "Address": "1.1.1.1", "Check": {"Name": "c"}}),
    (MINE, "a check of my service there", "PUT", "/v1/catalog/register",
     {"Node": "x2", "Address": "1.1.1.1", "Check": {"Name": "c", "ServiceID": "web"}}),
    *[(token, f"{who} asks {path}", "GET", f"/v1/{path}", None)
      for token, who in [(MINE, "I"), (NOBODY, "nobody"), (UNKNOWN, "unknown")]
      for path in [
          "catalog/nodes", "catalog/services", "catalog/service/web", "catalog/service/db", "catalog/node/x1",
          "catalog/node/x2", "health/service/web", "health/service/db", "health/state/any", "health/node/x2",
          "health/checks/web", "session/list", "session/node/x1", "kv/?recurse", "kv/?keys", "kv/a/?recurse", "kv/b",
          "kv/a/no", "kv/a/x", "agent/self", "agent/members", "agent/services", "agent/checks", "agent/service/none",
          "agent/metrics", "agent/host", "event/list", "operator/raft/configuration", "operator/autopilot/health",
          "operator/autopilot/configuration", "catalog/datacenters", "coordinate/nodes",
          "agent/health/service/name/db"]],
    ("SERVICE_S", "a service's identity sees services", "GET", "/v1/catalog/services", None),
    ("SERVICE_S", "and registers itself", "PUT", "/v1/agent/service/register", {"Name": "web"}),
    ("SERVICE_S", "and its sidecar", "PUT", "/v1/agent/service/register", {"Name": "web-sidecar-proxy"}),
    ("SERVICE_S", "and no other", "PUT", "/v1/agent/service/register", {"Name": "db"}),
    ("NODE_S", "a node's identity registers it", "PUT", "/v1/catalog/register", {"Node": "n9", "Address": "1.1.1.9"}),
    ("NODE_S", "and no other node", "PUT", "/v1/catalog/register", {"Node": "n8", "Address": "1.1.1.9"}),
    (MINE, "set mine", "PUT", "/v1/kv/a/x", "v"),
    (MINE, "set theirs", "PUT", "/v1/kv/b", "v"),
    (MINE, "set what is denied", "PUT", "/v1/kv/a/no", "v"),
    (MINE, "see mine alone", "GET", "/v1/kv/?keys", None),
    (MINE, "delete theirs", "DELETE", "/v1/kv/b", None),
    (MINE, "delete a tree with something denied", "DELETE", "/v1/kv/a/?recurse", None),
    (MINE, "delete a tree of mine", "DELETE", "/v1/kv/a/x?recurse", None),
    (MINE, "two in a transaction", "PUT", "/v1/txn", [
        {"KV": {"Verb": "set", "Key": "a/1", "Value": "eA=="}}, {"KV": {"Verb": "set", "Key": "b/1", "Value": "eA=="}}]),
    (MINE, "one in a transaction", "PUT", "/v1/txn", [{"KV": {"Verb": "set", "Key": "a/1", "Value": "eA=="}}]),
    (MINE, "read what may not be read in a transaction", "PUT", "/v1/txn", [{"KV": {"Verb": "get", "Key": "b/1"}}]),
    (MINE, "delete a tree in a transaction", "PUT", "/v1/txn", [{"KV": {"Verb": "delete-tree", "Key": "a/"}}]),
    (MINE, "their node in a transaction", "PUT", "/v1/txn", [
        {"Node": {"Verb": "set", "Node": {"Node": "x2", "Address": "1.1.1.1"}}},
        {"Node": {"Verb": "get", "Node": {"Node": "x2"}}}]),
    (MINE, "look at their node in a transaction", "PUT", "/v1/txn", [{"Node": {"Verb": "get", "Node": {"Node": "x2"}}}]),
    (MINE, "look at their service", "PUT", "/v1/txn", [
        {"Service": {"Verb": "get", "Node": "x2", "Service": {"ID": "db", "Service": "db"}}}]),
    (MINE, "their check", "PUT", "/v1/txn", [
        {"Check": {"Verb": "set", "Check": {"Node": "x2", "CheckID": "c1", "Name": "c", "Status": "passing"}}}]),
    (MINE, "a session on mine", "PUT", "/v1/session/create", {"Node": "x1", "NodeChecks": []}),
    (MINE, "a session on theirs", "PUT", "/v1/session/create", {"Node": "x2", "NodeChecks": []}),
    (ROOT, "THEIRS", "PUT", "/v1/session/create", {"Node": "x2", "NodeChecks": []}),
    (MINE, "renew theirs", "PUT", "/v1/session/renew/THEIRS", ""),
    (MINE, "destroy theirs", "PUT", "/v1/session/destroy/THEIRS", ""),
    (MINE, "look at theirs", "GET", "/v1/session/info/THEIRS", None),
    (MINE, "fire mine", "PUT", "/v1/event/fire/dep", ""),
    (MINE, "fire theirs", "PUT", "/v1/event/fire/other", ""),
    (MINE, "register mine", "PUT", "/v1/agent/service/register", {"Name": "web"}),
    (MINE, "register theirs", "PUT", "/v1/agent/service/register", {"Name": "db"}),
    (ROOT, "they do", "PUT", "/v1/agent/service/register", {"Name": "db", "Check": {"TTL": "10s"}}),
    (MINE, "take their id", "PUT", "/v1/agent/service/register", {"ID": "db", "Name": "web"}),
    (MINE, "deregister theirs", "PUT", "/v1/agent/service/deregister/db", ""),
    (ROOT, "an unknown instance of ours goes", "PUT", "/v1/agent/service/deregister/none", ""),
    (MINE, "maintain theirs", "PUT", "/v1/agent/service/maintenance/db?enable=true", ""),
    (MINE, "maintain the node", "PUT", "/v1/agent/maintenance?enable=true", ""),
    (MINE, "a check of the node", "PUT", "/v1/agent/check/register", {"Name": "c", "TTL": "10s"}),
    (MINE, "a check of theirs", "PUT", "/v1/agent/check/register", {"Name": "c", "TTL": "10s", "ServiceID": "db"}),
    (MINE, "report on theirs", "PUT", "/v1/agent/check/pass/service:db", ""),
    (MINE, "report on what is not there", "PUT", "/v1/agent/check/pass/none", ""),
    (MINE, "take their check", "PUT", "/v1/agent/check/deregister/service:db", ""),
    (MINE, "reload", "PUT", "/v1/agent/reload", ""),
    (MINE, "leave", "PUT", "/v1/agent/leave", ""),
    (MINE, "their instance", "GET", "/v1/agent/service/db", None),
    (MINE, "their health", "GET", "/v1/agent/health/service/id/db", None),
    (MINE, "their node goes", "PUT", "/v1/catalog/deregister", {"Node": "x2"}),
    (MINE, "mine on it goes", "PUT", "/v1/catalog/deregister", {"Node": "x2", "ServiceID": "web"}),
    (MINE, "theirs on it goes", "PUT", "/v1/catalog/deregister", {"Node": "x2", "ServiceID": "db"}),
    (MINE, "deregister what is not there", "PUT", "/v1/catalog/deregister", {"Node": "x2", "ServiceID": "nope"}),
    (MINE, "a check that is not there goes", "PUT", "/v1/catalog/deregister", {"Node": "x2", "CheckID": "nope"}),
    (MINE, "my node goes", "PUT", "/v1/catalog/deregister", {"Node": "x1"}),
    (MINE, "what is nobody's goes", "PUT", "/v1/catalog/deregister", {"Node": "nope"}),
]


class Side:
    def __init__(self, port):
        self.base = f"http://127.0.0.1:{port}"
        self.ids = {}

    def named(self, text):
        for name in sorted(self.ids, key=len, reverse=True):
            text = text.replace(name, self.ids[name])
        return text

    def send(self, token, name, method, path, body):
        data = None
        if body is not None:
            data = self.named(body if isinstance(body, str) else json.dumps(body)).encode()
        request = urllib.request.Request(self.base + self.named(path), data=data, method=method)
        if token:
            request.add_header("X-Consul-Token", self.named(token))
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        if name.isupper() and status == 200:
            made = json.loads(text)
            self.ids[name] = made.get("AccessorID") or made["ID"]
            if "SecretID" in made:
                self.ids[name + "_S"] = made["SecretID"]
        try:
            return status, tidy(json.loads(text))
        except ValueError:
            return status, words(text.strip())


def words(text):
    """Who may not is told so in the same words; what exactly is missing is told by newer versions only."""
    text = UUID.sub("UUID", re.sub(r"reset index: \d+", "reset index: N", text))
    if text.startswith("Permission denied: ACL bootstrap"):
        return text
    return "Permission denied" if text.startswith("Permission denied") else text


def tidy(value):
    """Null and empty are one: Go's slices and ours. Lists of tokens and the like have no order of their own."""
    if isinstance(value, dict):
        return {key: tidy(inner) for key, inner in value.items() if key not in LEFT_OUT and inner not in (None, [], {}, "")}
    if isinstance(value, list):
        return sorted((tidy(inner) for inner in value), key=lambda inner: json.dumps(inner, sort_keys=True))
    return words(value) if isinstance(value, str) else value


def main():
    consul, ours = Side(sys.argv[1]), Side(sys.argv[2])
    failures = 0
    for step in STEPS:
        theirs, answered = consul.send(*step), ours.send(*step)
        differs = theirs != answered
        if differs != (step[1] in INTENDED):
            failures += 1
            print(f"{step[1]}: {step[2]} {step[3]}\n  Consul: {theirs}\n  ours:   {answered}")
    stale = set(INTENDED) - {step[1] for step in STEPS}
    for name in sorted(stale):
        print(f"{name}: there is no such request")
    print(f"access control beside Consul: {len(STEPS)} requests, {len(INTENDED)} differ on purpose, {failures} failures")
    sys.exit(1 if failures or stale else 0)


main()
