"""Sends the same requests to a real Consul and to us and compares. usage: beside_consul.py CONSUL_PORT OUR_PORT

What must be equal: the status, and the body with ids, indexes and the like left out. What differs on purpose is in
INTENDED, with the reason; an entry there that does not differ any more is a failure, too.
"""
import json
import re
import sys
import urllib.error
import urllib.request

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
ZERO = "00000000-0000-0000-0000-000000000000"
# Fields of one side's version, or of its own life.
LEFT_OUT = {"CreateIndex", "ModifyIndex", "LTime", "Node", "Proxy", "Connect", "Definition", "Interval", "Timeout",
            "ExposedPort", "PeerName", "Partition", "Namespace", "TaggedAddresses"}

INTENDED = {
    "see it after the set": "LockIndex counts how often a key was locked; Consul sets it to 0 with a plain write",
    "see it released": "the same",
    "take it again": "the same",
    "lock, check and unlock": "the same",
    "see it after its session": "the same",
    "a node without an address": "an empty address leads nowhere",
    "a status that is none": "it is no status",
}

# name, method, path, body; NAME in paths and bodies stands for the id that the step of that name was answered.
STEPS = [
    ("a session without a body", "PUT", "/v1/session/create", ""),
    ("too short a term", "PUT", "/v1/session/create", {"TTL": "5s"}),
    ("too long a term", "PUT", "/v1/session/create", {"TTL": "90000s"}),
    ("no behaviour", "PUT", "/v1/session/create", {"Behavior": "foo"}),
    ("no such node", "PUT", "/v1/session/create", {"Node": "nope"}),
    ("no such check", "PUT", "/v1/session/create", {"NodeChecks": ["nope"]}),
    ("no such service check", "PUT", "/v1/session/create", {"Checks": [], "ServiceChecks": [{"ID": "nope"}]}),
    ("ONE", "PUT", "/v1/session/create", {"Name": "one", "TTL": "10s", "LockDelay": 0}),
    ("TWO", "PUT", "/v1/session/create", {"Name": "two", "LockDelay": "15s", "Checks": []}),
    ("THREE", "PUT", "/v1/session/create", {"Behavior": "delete", "NodeChecks": []}),
    ("look at one", "GET", "/v1/session/info/ONE", None),
    ("look at two", "GET", "/v1/session/info/TWO", None),
    ("look at none", "GET", f"/v1/session/info/{ZERO}", None),
    ("look at nothing", "GET", "/v1/session/info/", None),
    ("sessions of no node", "GET", "/v1/session/node/nope", None),
    ("renew one", "PUT", "/v1/session/renew/ONE", ""),
    ("renew none", "PUT", f"/v1/session/renew/{ZERO}", ""),
    ("destroy none", "PUT", f"/v1/session/destroy/{ZERO}", ""),
    ("create by GET", "GET", "/v1/session/create", None),
    ("lock a key", "PUT", "/v1/kv/lock?acquire=ONE", "v1"),
    ("see it locked", "GET", "/v1/kv/lock", None),
    ("another locks it", "PUT", "/v1/kv/lock?acquire=TWO", "v2"),
    ("lock it again", "PUT", "/v1/kv/lock?acquire=ONE&flags=3", "v3"),
    ("see it locked again", "GET", "/v1/kv/lock", None),
    ("set a locked key", "PUT", "/v1/kv/lock", "v4"),
    ("see it after the set", "GET", "/v1/kv/lock", None),
    ("lock for none", "PUT", f"/v1/kv/lock?acquire={ZERO}", "v"),
    ("lock for nothing", "PUT", "/v1/kv/lock?acquire=", "v"),
    ("release for none", "PUT", f"/v1/kv/lock?release={ZERO}", "v"),
    ("release what is not there", "PUT", "/v1/kv/none?release=ONE", "v"),
    ("contradiction", "PUT", "/v1/kv/lock?acquire=x&cas=1", "v"),
    ("release it", "PUT", "/v1/kv/lock?release=ONE", "v5"),
    ("see it released", "GET", "/v1/kv/lock", None),
    ("another takes it", "PUT", "/v1/kv/lock?acquire=TWO", "v6"),
    ("lock, check and unlock", "PUT", "/v1/txn", [
        {"KV": {"Verb": "unlock", "Key": "lock", "Value": "eA==", "Session": "TWO"}},
        {"KV": {"Verb": "lock", "Key": "lock", "Value": "eA==", "Session": "TWO"}},
        {"KV": {"Verb": "check-session", "Key": "lock", "Session": "TWO"}}]),
    ("verbs of locks that fail", "PUT", "/v1/txn", [
        {"KV": {"Verb": "lock", "Key": "lock", "Value": "eA==", "Session": ZERO}},
        {"KV": {"Verb": "lock", "Key": "lock", "Value": "eA==", "Session": "ONE"}},
        {"KV": {"Verb": "check-session", "Key": "lock", "Session": ZERO}},
        {"KV": {"Verb": "check-session", "Key": "none", "Session": ZERO}},
        {"KV": {"Verb": "unlock", "Key": "lock", "Value": "eQ==", "Session": ZERO}},
        {"KV": {"Verb": "unlock", "Key": "none", "Value": "eQ==", "Session": ZERO}}]),
    ("no session, no verb", "PUT", "/v1/txn", [
        {"KV": {"Verb": "lock", "Key": "lock"}}, {"KV": {"Verb": "bogus", "Key": "lock"}}]),
    ("end of two", "PUT", "/v1/session/destroy/TWO", ""),
    ("see it after its session", "GET", "/v1/kv/lock", None),
    ("within the lock delay", "PUT", "/v1/kv/lock?acquire=ONE", "v7"),
    ("the same in a transaction", "PUT", "/v1/txn", [
        {"KV": {"Verb": "lock", "Key": "lock", "Value": "eA==", "Session": "ONE"}}]),
    ("lock to delete", "PUT", "/v1/kv/gone?acquire=THREE", "v"),
    ("end of three", "PUT", "/v1/session/destroy/THREE", ""),
    ("deleted with it", "GET", "/v1/kv/gone", None),
    ("set node, service and check", "PUT", "/v1/txn", [
        {"Node": {"Verb": "set", "Node": {"Node": "x1", "Address": "1.2.3.4"}}},
        {"Service": {"Verb": "set", "Node": "x1", "Service": {"ID": "s1", "Service": "s", "Tags": ["a"], "Port": 1}}},
        {"Check": {"Verb": "set", "Check": {"Node": "x1", "CheckID": "c1", "Name": "c", "Status": "passing"}}}]),
    ("get what is there", "PUT", "/v1/txn", [
        {"Node": {"Verb": "get", "Node": {"Node": "x1"}}},
        {"Service": {"Verb": "get", "Node": "x1", "Service": {"ID": "s1"}}},
        {"Check": {"Verb": "get", "Check": {"Node": "x1", "CheckID": "c1"}}}]),
    ("get what is not", "PUT", "/v1/txn", [
        {"Node": {"Verb": "get", "Node": {"Node": "nope"}}},
        {"Service": {"Verb": "get", "Node": "x1", "Service": {"ID": "nope"}}},
        {"Check": {"Verb": "get", "Check": {"Node": "x1", "CheckID": "nope"}}}]),
    ("compare with old indexes", "PUT", "/v1/txn", [
        {"Node": {"Verb": "cas", "Node": {"Node": "x1", "Address": "1.2.3.5", "ModifyIndex": 3}}},
        {"Service": {"Verb": "cas", "Node": "x1", "Service": {"ID": "s1", "Service": "s", "ModifyIndex": 1}}},
        {"Check": {"Verb": "cas", "Check": {"Node": "x1", "CheckID": "c1", "ModifyIndex": 1}}},
        {"Node": {"Verb": "delete-cas", "Node": {"Node": "x1", "ModifyIndex": 3}}},
        {"Service": {"Verb": "delete-cas", "Node": "x1", "Service": {"ID": "s1", "Service": "s", "ModifyIndex": 1}}},
        {"Check": {"Verb": "delete-cas", "Check": {"Node": "x1", "CheckID": "c1", "ModifyIndex": 1}}}]),
    ("unknown verbs", "PUT", "/v1/txn", [
        {"Node": {"Verb": "bogus", "Node": {"Node": "x1"}}},
        {"Service": {"Verb": "bogus", "Node": "x1", "Service": {"ID": "s1", "Service": "s"}}},
        {"Check": {"Verb": "bogus", "Check": {"Node": "x1", "CheckID": "c1"}}}]),
    ("on nodes that are not there", "PUT", "/v1/txn", [
        {"Service": {"Verb": "set", "Node": "absent", "Service": {"ID": "s1", "Service": "s", "Port": 1}}},
        {"Check": {"Verb": "set", "Check": {"Node": "absent", "CheckID": "c1", "Name": "c"}}}]),
    ("a check of no service", "PUT", "/v1/txn", [
        {"Check": {"Verb": "set", "Check": {"Node": "x1", "CheckID": "c9", "Name": "c", "ServiceID": "s9"}}}]),
    ("an operation that is nothing", "PUT", "/v1/txn", [{}]),
    ("no operation", "PUT", "/v1/txn", []),
    ("a node without an address", "PUT", "/v1/txn", [{"Node": {"Verb": "set", "Node": {"Node": "x2"}}}]),
    ("a status that is none", "PUT", "/v1/txn", [
        {"Check": {"Verb": "set", "Check": {"Node": "x1", "CheckID": "c2", "Name": "c", "Status": "foo"}}}]),
    ("take it all away", "PUT", "/v1/txn", [
        {"Check": {"Verb": "delete", "Check": {"Node": "x1", "CheckID": "c1"}}},
        {"Service": {"Verb": "delete", "Node": "x1", "Service": {"ID": "s1", "Service": "s"}}},
        {"Node": {"Verb": "delete", "Node": {"Node": "x1"}}}]),
    ("fire an event", "PUT", "/v1/event/fire/deploy", "payload"),
    ("fire nothing", "PUT", "/v1/event/fire/", "payload"),
    ("a tag without a service", "PUT", "/v1/event/fire/deploy?tag=t", "payload"),
    ("fire elsewhere", "PUT", "/v1/event/fire/other?node=elsewhere", "payload"),
    ("events", "GET", "/v1/event/list?name=deploy", None),
    ("no events", "GET", "/v1/event/list?name=nope", None),
    ("another datacenter", "GET", "/v1/session/list?dc=x", None),
    ("contradictory consistency", "GET", "/v1/session/list?stale&consistent", None),
    ("coordinates of none", "GET", "/v1/coordinate/node/none", None),
    ("lists that are off", "PUT", "/v1/acl/bootstrap", ""),
    ("no such service here", "GET", "/v1/agent/service/nope", None),
]


class Side:
    def __init__(self, port):
        self.base = f"http://127.0.0.1:{port}"
        self.ids = {}

    def named(self, text):
        for name, value in self.ids.items():
            text = text.replace(name, value)
        return text

    def send(self, name, method, path, body):
        data = None
        if body is not None:
            data = self.named(body if isinstance(body, str) else json.dumps(body)).encode()
        request = urllib.request.Request(self.base + self.named(path), data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        if name.isupper() and status == 200:
            self.ids[name] = json.loads(text)["ID"]
        try:
            return status, tidy(json.loads(text))
        except ValueError:
            return status, text.strip()


def tidy(value):
    """Null and empty are one: Go's slices and ours."""
    if isinstance(value, dict):
        return {key: tidy(inner) for key, inner in value.items() if key not in LEFT_OUT and inner not in (None, [], {})}
    if isinstance(value, list):
        return [tidy(inner) for inner in value]
    return UUID.sub("UUID", value) if isinstance(value, str) else value


consul, ours = Side(sys.argv[1]), Side(sys.argv[2])
failures = 0
for step in STEPS:
    theirs, answered = consul.send(*step), ours.send(*step)
    differs = theirs != answered
    if differs != (step[0] in INTENDED):
        failures += 1
        print(f"{step[0]}: {step[1]} {step[2]}\n  Consul: {theirs}\n  ours:   {answered}")
print(f"beside Consul: {len(STEPS)} requests, {len(INTENDED)} differ on purpose, {failures} failures")
sys.exit(1 if failures else 0)
