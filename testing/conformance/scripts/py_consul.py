"""PyPI's py-consul, unmodified: register, TTL, catalog, health, KV. usage: py_consul.py PORT"""
import sys
import time

import consul

client = consul.Consul(host="127.0.0.1", port=int(sys.argv[1]))


def until(what, look):
    for _ in range(200):
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise SystemExit(f"in vain: {what}")


def passing():
    return client.health.service("web", passing=True)[1]


assert client.status.leader()
assert client.agent.self()["Config"]["Datacenter"]

client.agent.service.register(
    "web", service_id="web-1", address="127.0.0.1", port=8080, tags=["blue"], check=consul.Check.ttl("2s")
)
assert client.agent.services()["web-1"]["Port"] == 8080
assert not passing(), "a TTL check begins critical"
client.agent.check.ttl_pass("service:web-1", "fine")
(entry,) = until("passing after the report", passing)
assert entry["Service"]["Tags"] == ["blue"]
check = [check for check in entry["Checks"] if check["CheckID"] == "service:web-1"]
assert check[0]["Status"] == "passing" and check[0]["Output"] == "fine"

index, services = client.catalog.services()
assert services["web"] == ["blue"] and int(index) > 0
(instance,) = client.catalog.service("web")[1]
assert instance["ServiceID"] == "web-1" and instance["ServicePort"] == 8080
assert client.catalog.service("web", tag="green")[1] == []
assert client.catalog.nodes()[1] and client.catalog.datacenters()

# The next report stays out: the check must fail by itself, and a blocking query must tell.
index, _ = client.health.service("web", passing=True)
index, gone = client.health.service("web", passing=True, index=index, wait="10s")
assert gone == [], "silence makes it critical"
assert client.health.state("critical")[1][0]["CheckID"] == "service:web-1"
assert client.health.checks("web")[1][0]["Status"] == "critical"

client.agent.service.deregister("web-1")
until("gone from the catalog", lambda: client.catalog.service("web")[1] == [])

assert client.kv.put("dir/a", "1", flags=7) is True
assert client.kv.put("dir/b", b"\x00\xff") is True
index, item = client.kv.get("dir/a")
assert item["Value"] == b"1" and item["Flags"] == 7
assert client.kv.put("dir/a", "2", cas=0) is False
assert client.kv.put("dir/a", "2", cas=item["ModifyIndex"]) is True
assert [found["Key"] for found in client.kv.get("dir/", recurse=True)[1]] == ["dir/a", "dir/b"]
assert client.kv.get("dir/", keys=True)[1] == ["dir/a", "dir/b"]
assert client.kv.get("d", keys=True, separator="/")[1] == ["dir/"]
assert client.kv.get("dir/b")[1]["Value"] == b"\x00\xff"
assert client.kv.get("absent")[1] is None
assert client.kv.delete("dir", recurse=True) is True
assert client.kv.get("dir/", recurse=True)[1] is None
print("py-consul: all of it")
