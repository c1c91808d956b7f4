"""Sends the same requests to a real Consul and to us and compares them strictly: status, header fields, every field of
every body with its case and its place, null apart from [] and {}. usage: beside_reads.py CONSUL_PORT OUR_PORT

What may differ stands in beside_reads.json with the reason. A difference that is not listed there is a failure, and so
is a row of the list that no difference needs any more.
"""
import json
import pathlib
import re
import sys
import urllib.error
import urllib.request
from functools import partial
from urllib.parse import quote

import beside

# Each side has its own history: only whether there is an index.
INDEXES = {"CreateIndex", "ModifyIndex"}
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
ZERO = "00000000-0000-0000-0000-000000000000"
HEADERS = ["Content-Type", "X-Consul-KnownLeader", "Allow", "X-Consul-Reason"]
AGENT, CATALOG, HEALTH, KV = "/v1/agent", "/v1/catalog", "/v1/health", "/v1/kv"

WEB1 = {"ID": "w1", "Name": "web", "Port": 80, "Tags": ["blue", "v1"], "Meta": {"team": "a"}, "Address": "10.9.0.1",
        "Check": {"CheckID": "c1", "Name": "life", "TTL": "300s", "Status": "passing", "Notes": "n"}}
WEB2 = {"id": "w2", "name": "web", "port": 81, "tags": ["green"], "checks": [
    {"ttl": "300s", "status": "warning"}, {"ttl": "300s"}]}
EXTERNAL = {"Node": "ext", "Address": "10.8.0.1", "NodeMeta": {"rack": "r1"}, "Service": {"Service": "db", "Port": 5432},
            "Check": {"Name": "db up", "Status": "passing", "ServiceID": "db", "CheckID": "dbc"}}

ASKED = {"Node": "esm", "Address": "10.8.0.2", "Check": {"Name": "p", "CheckID": "p1", "Status": "passing", "Definition": {
    "TCP": "10.8.0.2:1", "Interval": "5s", "Timeout": "2s", "DeregisterCriticalServiceAfter": "90s", "TLSSkipVerify": True,
    "Header": {"X-A": ["b"]}}}}
# Every kind of selector with every kind of comparison, on what each list has.
OF_SERVICES = ["ID==w1", "Service!=web", "Kind is empty", "Tags is not empty", "blue in Tags", "Tags contains green",
               "team in Meta", "Meta.team==a", "Meta.nope==x", "Meta is empty", "Port==80", "Weights.Passing==1",
               "Weights.Warning!=1", "EnableTagOverride==false", 'Address matches "^10[.]9"', 'Address=="10.9.0.1"',
               "TaggedAddresses is empty", "TaggedAddresses.lan_ipv4.Port==80", "Port in Tags", "Port is empty", "Tags==blue",
               "Service==web and not (Port==80 or Port==81)"]
OF_INSTANCES = ["{}ID==w1", "{}Service==db", "{}Kind==\"\"", "blue in {}Tags", "{}Meta.team==a", "{}Port!=80",
                "{}Weights.Passing==1", "{}Connect.Native==false", "{}Proxy.DestinationServiceID==x",
                "{}Proxy.MeshGateway.Mode!=x", "{}Proxy.LocalServicePort==0", "{}Proxy.Upstreams is empty",
                "{}Proxy.Upstreams.DestinationName==db", "{}Proxy.Upstreams.LocalBindPort!=1", "{}Proxy.Nope==x",
                "{}TaggedAddresses.wan_ipv4.Port==80", "{}EnableTagOverride!=true"]
OF_ROWS = ["Node!=x", "Datacenter==dc1", "NodeMeta is empty", 'TaggedAddresses.lan=="127.0.0.1"', "ServiceID==w1",
           "ServiceConnect.Native==false", "ServiceEnableTagOverride==false", "ServiceWeights.Warning==1",
           "ServiceTaggedAddresses.lan_ipv4.Port==80", "ServiceProxy.LocalServiceAddress==x", 'ServiceAddress contains "9.0"',
           "ServicePort==81 or blue in ServiceTags"]
OF_NODES = ["ID==x", "Meta.rack==r1", "rack in Meta", "Meta is not empty", 'TaggedAddresses.lan=="127.0.0.1"', "Datacenter!=dc1"]
OF_CHECKS = ["Status==warning", "Name contains life", "CheckID==c1", "ServiceName==web and blue in ServiceTags", "Notes!=n",
             "ServiceID==w1 or Node==ext", "ServiceTags is empty"]

# method, path, body
STEPS = [
    ("PUT", AGENT + "/service/register", WEB1), ("PUT", AGENT + "/service/register", WEB2),
    ("PUT", AGENT + "/service/register", {"Name": "plain"}), ("PUT", AGENT + "/service/register", {}),
    ("PUT", AGENT + "/service/register", "nonsense"), ("PUT", AGENT + "/service/register", ""),
    ("PUT", AGENT + "/service/register", {"Name": "x", "Check": {"TTL": "1s", "Status": "bogus"}}),
    ("PUT", AGENT + "/service/register", {"Name": "x", "Check": {"HTTP": "http://127.0.0.1:1/"}}),
    ("PUT", AGENT + "/service/register", {"Name": "x", "Check": {}}),
    ("PUT", AGENT + "/service/register", {"Name": "x", "Port": "no"}),
    ("GET", AGENT + "/service/register", None), ("POST", AGENT + "/service/register", {}),
    ("PUT", CATALOG + "/register", EXTERNAL), ("PUT", CATALOG + "/register", {"Node": "y"}),
    ("PUT", CATALOG + "/register", {"Address": "10.0.0.1"}), ("PUT", CATALOG + "/register", {}),
    ("PUT", CATALOG + "/register", {"Datacenter": "nope", "Node": "y", "Address": "1.2.3.4"}),
    ("PUT", CATALOG + "/register", {"Node": "go", "Address": "10.7.0.1", "Service": {
        "Service": "zeros", "Weights": {"Passing": 0, "Warning": 0}}}), ("GET", CATALOG + "/service/zeros", None),
    ("GET", AGENT + "/services", None), ("GET", AGENT + "/checks", None), ("GET", AGENT + "/service/w1", None),
    ("GET", AGENT + "/service/nope", None), ("GET", AGENT + "/services?filter=Service==web", None),
    ("GET", AGENT + "/services?filter=nonsense", None), ("GET", AGENT + "/checks?filter=Status==warning", None),
    ("PUT", CATALOG + "/register", ASKED), ("GET", HEALTH + "/node/esm", None), ("GET", CATALOG + "/node/esm", None),
    ("PUT", "/v1/txn", [{"Check": {"Verb": "get", "Check": {"Node": "esm", "CheckID": "p1"}}}]),
    ("PUT", "/v1/txn", [{"Check": {"Verb": "set", "Check": {"Node": "esm", "CheckID": "p2", "Name": "p2", "Status": "warning",
                                                            "Definition": {"HTTP": "http://10.8.0.2/", "Method": "HEAD"}}}}]),
    ("GET", HEALTH + "/state/warning?filter=CheckID==p2", None), ("PUT", CATALOG + "/deregister", {"Node": "esm"}),
    *[("GET", AGENT + "/services?filter=" + quote(text), None) for text in OF_SERVICES],
    *[("GET", HEALTH + "/service/web?filter=" + quote(text.replace("{}", "Service.")), None) for text in OF_INSTANCES],
    *[("GET", CATALOG + "/node-services/ext?filter=" + quote(text.replace("{}", "")), None) for text in OF_INSTANCES],
    *[("GET", CATALOG + "/service/web?filter=" + quote(text), None) for text in OF_ROWS],
    *[("GET", CATALOG + "/nodes?filter=" + quote(text), None) for text in OF_NODES],
    *[("GET", place + "?filter=" + quote(text), None) for text in OF_CHECKS
      for place in (AGENT + "/checks", HEALTH + "/checks/web", HEALTH + "/node/ext", HEALTH + "/state/any")],
    ("GET", AGENT + "/health/service/id/w1", None), ("GET", AGENT + "/health/service/id/w2", None),
    ("GET", AGENT + "/health/service/id/nope", None), ("GET", AGENT + "/health/service/name/web", None),
    ("GET", AGENT + "/health/service/name/nope", None), ("GET", AGENT + "/health/service/name/web?format=text", None),
    ("PUT", AGENT + "/check/pass/c1?note=fine", ""), ("PUT", AGENT + "/check/warn/c1", ""),
    ("PUT", AGENT + "/check/fail/c1", ""), ("PUT", AGENT + "/check/pass/nope", ""),
    ("PUT", AGENT + "/check/update/c1", {"Status": "passing", "Output": "ok"}),
    ("PUT", AGENT + "/check/update/c1", {"Status": "bogus"}), ("PUT", AGENT + "/check/update/nope", {"Status": "passing"}),
    ("PUT", AGENT + "/check/register", {"Name": "own", "TTL": "300s"}),
    ("PUT", AGENT + "/check/register", {"Name": "bad"}), ("PUT", AGENT + "/check/register", {}),
    ("PUT", AGENT + "/check/register", {"Name": "bad", "TTL": "300s", "ServiceID": "nope"}),
    ("PUT", AGENT + "/service/maintenance/w2?enable=true&reason=r", ""),
    ("PUT", AGENT + "/service/maintenance/w2", ""), ("PUT", AGENT + "/service/maintenance/nope?enable=true", ""),
    ("GET", HEALTH + "/service/web", None), ("PUT", AGENT + "/service/maintenance/w2?enable=false", ""),
    ("GET", CATALOG + "/datacenters", None), ("GET", CATALOG + "/nodes?filter=Node==ext", None),
    ("GET", CATALOG + "/nodes?node-meta=rack:r1", None), ("GET", CATALOG + "/nodes?node-meta=rack:no", None),
    ("GET", CATALOG + "/nodes?filter=Nope==x", None), ("GET", CATALOG + "/services", None),
    ("GET", CATALOG + "/services?node-meta=rack:r1", None), ("GET", CATALOG + "/service/web", None),
    ("GET", CATALOG + "/service/db", None), ("GET", CATALOG + "/service/nope", None),
    ("GET", CATALOG + "/service/", None), ("GET", CATALOG + "/service/web?tag=blue", None),
    ("GET", CATALOG + "/service/web?tag=blue&tag=v1", None), ("GET", CATALOG + "/service/web?tag=BLUE", None),
    ("GET", CATALOG + "/service/web?filter=ServiceMeta.team==a", None),
    ("GET", CATALOG + "/service/web?filter=green+in+ServiceTags", None),
    ("GET", CATALOG + "/node/ext", None), ("GET", CATALOG + "/node/nope", None), ("GET", CATALOG + "/node/", None),
    ("GET", CATALOG + "/node-services/ext", None), ("GET", CATALOG + "/node-services/nope", None),
    ("GET", CATALOG + "/connect/web", None), ("PUT", CATALOG + "/services", ""),
    ("GET", HEALTH + "/service/web?passing", None), ("GET", HEALTH + "/service/web?passing=true", None),
    ("GET", HEALTH + "/service/web?passing=x", None), ("GET", HEALTH + "/service/nope", None),
    ("GET", HEALTH + "/service/db", None), ("GET", HEALTH + "/service/web?filter=Checks.Status==warning", None),
    ("GET", HEALTH + "/service/web?filter=Service.Port==81", None),
    ("GET", HEALTH + "/service/web?filter=Node.Node+matches+%22%5Ev%22", None),
    ("GET", HEALTH + "/service/web?filter=Service.Meta+is+empty", None),
    ("GET", HEALTH + "/service/web?filter=not+(Service.Port==81+or+Service.Port==80)", None),
    ("GET", HEALTH + "/service/web?filter=Service.Port==", None), ("GET", HEALTH + "/checks/web", None),
    ("GET", HEALTH + "/checks/nope", None), ("GET", HEALTH + "/node/ext", None), ("GET", HEALTH + "/node/nope", None),
    ("GET", HEALTH + "/state/warning", None), ("GET", HEALTH + "/state/bogus", None), ("GET", HEALTH + "/state/", None),
    ("GET", HEALTH + "/connect/web", None), ("GET", HEALTH + "/service/web?dc=nope", None),
    ("GET", HEALTH + "/service/web?stale&consistent", None), ("GET", HEALTH + "/service/web?index=x", None),
    ("GET", HEALTH + "/service/web?wait=x&index=1", None), ("GET", HEALTH + "/service/web?index=1&wait=1ms", None),
    ("GET", HEALTH + "/service/nope?index=1&wait=1ms", None),
    ("PUT", KV + "/a", "one"), ("PUT", KV + "/a/b?flags=3", "two"), ("PUT", KV + "/a/b/c", ""), ("GET", KV + "/a", None),
    ("GET", KV + "/a?raw", None), ("GET", KV + "/nope", None), ("GET", KV + "/nope?raw", None), ("GET", KV + "/", None),
    ("GET", KV + "/a?recurse", None), ("GET", KV + "/nope?recurse", None), ("GET", KV + "/a?keys", None),
    ("GET", KV + "/a?keys&separator=/", None), ("GET", KV + "/?keys", None), ("GET", KV + "/nope?keys", None),
    ("PUT", KV + "/a?cas=0", "x"), ("PUT", KV + "/new?cas=0", "x"), ("PUT", KV + "/a?cas=x", "x"),
    ("PUT", KV + "/a?flags=x", "x"), ("PUT", KV + "/", "x"), ("PUT", KV + "/a?cas=1&acquire=x", "x"),
    ("PUT", KV + "/big", "x" * (512 * 1024)), ("PUT", KV + "/big", "x" * (512 * 1024 + 1)),
    ("DELETE", KV + "/a/b?cas=1", None), ("DELETE", KV + "/a/b?cas=0", None), ("DELETE", KV + "/nope", None),
    ("DELETE", KV + "/a?recurse", None), ("DELETE", KV + "/", None), ("DELETE", KV + "/a?recurse&cas=1", None),
    ("POST", KV + "/a", "x"), ("GET", KV + "/a%2Fb", None), ("PUT", KV + "/with%20space", "x"),
    ("GET", KV + "/with%20space", None), ("DELETE", KV + "/big", None),
    ("GET", "/v1/status/leader", None), ("GET", "/v1/status/peers", None), ("PUT", "/v1/status/leader", ""),
    ("GET", "/v1/query", None), ("POST", "/v1/query", {}), ("POST", "/v1/query", {"Name": "q0"}),
    ("POST", "/v1/query", {"ID": "x", "Name": "q0", "Service": {"Service": "web"}}),
    ("POST", "/v1/query", {"Name": "q1", "Service": {"Service": "web", "Tags": ["blue"], "OnlyPassing": True, "Near": "_agent",
                                                    "Failover": {"NearestN": 2, "Datacenters": ["dc2"]},
                                                    "NodeMeta": {"a": "b"}}, "DNS": {"TTL": "10s"}}),
    ("POST", "/v1/query", {"Name": "q1", "Service": {"Service": "web"}}),
    ("POST", "/v1/query", {"Name": "q2", "Service": {"Service": "web", "Tags": ["!green"]}}),
    ("POST", "/v1/query", {"Name": "q3", "Service": {"Service": "web", "Failover": {"NearestN": -1}}}),
    ("POST", "/v1/query", {"Name": "q3", "Service": {"Service": "web"}, "DNS": {"TTL": "-1s"}}),
    ("POST", "/v1/query", {"Name": "to-", "Template": {"Type": "name_prefix_match", "Regexp": "^to-(.*)$"},
                           "Service": {"Service": "${match(1)}"}}),
    ("POST", "/v1/query", {"Name": "t", "Template": {"Type": "bogus"}, "Service": {"Service": "web"}}),
    ("GET", "/v1/query/q2/execute", None), ("GET", "/v1/query/q1/execute", None), ("GET", "/v1/query/to-db/execute", None),
    ("GET", "/v1/query/to-db/explain", None), ("GET", "/v1/query/q1/explain", None), ("GET", "/v1/query/nope/execute", None),
    ("GET", "/v1/query/nope/explain", None), ("GET", "/v1/query/nope", None), ("GET", "/v1/query/" + ZERO, None),
    ("DELETE", "/v1/query/" + ZERO, None), ("PUT", "/v1/query/" + ZERO, {"Name": "z", "Service": {"Service": "web"}}),
    ("PUT", "/v1/snapshot", "nonsense"), ("PUT", "/v1/txn", [{"KV": {"Verb": "set", "Key": "t", "Value": "!"}}]),
    ("PUT", "/v1/txn", [{"KV": {"Verb": "get", "Key": "n"}}] * 65), ("GET", "/v1/nope", None), ("PUT", "/v1/txn", "x"),
    ("GET", "/v1/coordinate/datacenters", None), ("GET", "/v1/operator/autopilot/configuration", None),
    ("PUT", CATALOG + "/deregister", {"Node": "ext", "ServiceID": "db"}), ("PUT", CATALOG + "/deregister", {}),
    ("PUT", CATALOG + "/deregister", {"Node": "ext"}), ("PUT", AGENT + "/check/deregister/own", ""),
    ("PUT", AGENT + "/check/deregister/nope", ""), ("PUT", AGENT + "/service/deregister/nope", ""),
    ("PUT", AGENT + "/service/deregister/w1", ""), ("PUT", AGENT + "/service/deregister/w2", ""),
    ("PUT", AGENT + "/service/deregister/plain", ""), ("GET", CATALOG + "/service/web", None),
]


TRIES = 20


def send(port, method, path, body):
    # Consul may close while a body that is too long is still being sent; then its answer is lost to this client.
    for left in reversed(range(TRIES)):
        try:
            return send_once(port, method, path, body)
        except urllib.error.URLError as error:
            is_consul = port == sys.argv[1]
            if not left or not is_consul or not isinstance(error.reason, (BrokenPipeError, ConnectionResetError)):
                raise


def send_once(port, method, path, body):
    data = None
    if body is not None:
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=data, method=method)
    if data is not None:
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            status, fields, text = answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        status, fields, text = error.code, error.headers, error.read().decode()
    index = fields.get("X-Consul-Index")
    found = {"status": status, "index": None if index is None else int(index) > 0}
    found.update({name: fields.get(name) for name in HEADERS})
    try:
        found["body"] = json.loads(text)
    except ValueError:
        found["body"] = text.strip()
    return found


def differences(theirs, ours, place=""):
    """Places at which two answers differ, with both sides; rows of a list count by their numbers."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in sorted(theirs.keys() | ours.keys()):
            inner = f"{place}.{key}"
            if key not in ours:
                yield inner, theirs[key], "(absent)"
            elif key not in theirs:
                yield inner, "(absent)", ours[key]
            elif key in INDEXES:
                if bool(theirs[key]) != bool(ours[key]):
                    yield inner, theirs[key], ours[key]
            else:
                yield from differences(theirs[key], ours[key], inner)
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for left, right in zip(theirs, ours):
            yield from differences(left, right, place + "[]")
    elif isinstance(theirs, str) and isinstance(ours, str):
        if UUID.sub("UUID", theirs) != UUID.sub("UUID", ours):
            yield place, theirs, ours
    elif theirs != ours:
        yield place, theirs, ours


listed = json.loads(pathlib.Path(__file__).with_suffix(".json").read_text())
rules = [(re.compile(row["request"]), re.compile(row["place"])) for row in listed]
account = beside.Account(listed)


def compare(method, path, body, name):
    """Numbers of the rows that differences need, and the differences that no row lets be."""
    theirs, ours = (send(port, method, path, body) for port in sys.argv[1:3])
    needed, unlisted = set(), []
    for place, left, right in differences(theirs, ours):
        match = [at for at, (request, where) in enumerate(rules) if request.search(name) and where.fullmatch(place)]
        needed.update(match)
        if not match:
            unlisted.append(f"{name}\n  {place}\n    Consul: {str(left)[:300]}\n    ours:   {str(right)[:300]}")
    return needed, unlisted


for method, path, body in STEPS:
    name = f"{method} {path} {json.dumps(body)[:90] if body not in (None, '') else ''}".strip()
    account.take(partial(compare, method, path, body, name), patience=10 if method == "GET" else 0)
account.close("requests")
