"""Asks the same names of a real Consul and of us and compares: rcode, flags, and every record but for their order.
usage: beside_dns.py CONSUL_HTTP OUR_HTTP CONSUL_DNS OUR_DNS

What may differ stands in beside_dns.json with the reason. A difference that is not listed there is a failure, and so is a
row of the list that no difference needs any more.
"""
import ipaddress
import json
import pathlib
import re
import socket
import struct
import sys
import urllib.request
from functools import partial

import beside

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "TXT": 16, "AAAA": 28, "SRV": 33, "OPT": 41, "ANY": 255}
NAMES = {number: name for name, number in TYPES.items()}
RCODES = {0: "NOERROR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
FLAGS = {"aa": 0x0400, "tc": 0x0200, "rd": 0x0100, "ra": 0x0080}


def node(name, address, service=None, status="passing", **more):
    body = {"Node": name, "Address": address, **more}
    if service:
        body["Service"] = service
        body["Check"] = {"Name": "c", "CheckID": f"c-{service['ID']}", "Status": status, "ServiceID": service["ID"]}
    return "PUT", "/v1/catalog/register", body


SETUP = [
    node("n-one", "10.1.0.1", {"ID": "w1", "Service": "web", "Port": 80, "Tags": ["blue", "v1"]}),
    node("n-two", "10.1.0.2", {"ID": "w2", "Service": "web", "Port": 81, "Address": "10.2.0.2", "Tags": ["green"]}),
    node("n-three", "10.1.0.3", {"ID": "w3", "Service": "web", "Port": 82}, status="critical"),
    node("n-four", "10.1.0.4", {"ID": "w4", "Service": "db", "Port": 5432, "Tags": ["primary"]}, status="warning"),
    node("n-five", "10.1.0.5", {"ID": "w5", "Service": "named", "Port": 83, "Address": "www.example.com"}),
    node("n-six", "fd00::6", {"ID": "w6", "Service": "six", "Port": 84}, NodeMeta={"rack": "r1"}),
    node("n-seven", "10.1.0.7", {"ID": "w7", "Service": "down", "Port": 85}, status="critical"),
    *[node(f"many-{n}", f"10.3.0.{n}", {"ID": f"m{n}", "Service": "many", "Port": 86}) for n in range(1, 21)],
    ("POST", "/v1/query", {"Name": "ask", "Service": {"Service": "web", "Tags": ["blue"]}, "DNS": {"TTL": "7s"}}),
    ("POST", "/v1/query", {"Name": "to-", "Template": {"Type": "name_prefix_match", "Regexp": "^to-(.*)$"},
                           "Service": {"Service": "${match(1)}"}}),
]
ASKED = [(name, kind) for name in [
    "web.service.consul", "web.service.dc1.consul", "blue.web.service.consul", "green.web.service.dc1.consul",
    "nope.web.service.consul", "_web._tcp.service.consul", "_web._blue.service.consul", "_web._tcp.consul",
    "_web._tcp.service.dc1.consul", "_web._udp.service.consul", "WEB.Service.CONSUL", "db.service.consul",
    "primary.db.service.consul", "named.service.consul", "six.service.consul", "down.service.consul", "none.service.consul",
    "n-one.node.consul", "n-six.node.dc1.consul", "none.node.consul", "N-ONE.node.consul", "0a010001.addr.dc1.consul",
    "0a010001.addr.consul", "nonsense.addr.consul", "ask.query.consul", "to-db.query.consul", "none.query.consul",
    "web.service.nope.consul", "n-one.node.nope.consul", "consul", "ns.consul", "nope.consul", "service.consul",
    "web.consul", "a.b.c.d.web.service.consul",
] for kind in ("A", "AAAA", "SRV", "ANY")]
ASKED += [("consul", "SOA"), ("consul", "NS"), ("web.service.consul", "SOA"), ("web.service.consul", "NS"),
          ("web.service.consul", "TXT"), ("n-six.node.consul", "TXT"), ("n-one.node.consul", "TXT"),
          ("1.0.1.10.in-addr.arpa", "PTR"), ("2.0.2.10.in-addr.arpa", "PTR"), ("9.9.9.10.in-addr.arpa", "PTR"),
          ("many.service.consul", "A"), ("many.service.consul", "SRV"), ("example.com", "A")]


def send(port, method, path, body):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), method=method)
    urllib.request.urlopen(request, timeout=20).read()


def name_at(packet, at):
    labels, end = [], None
    for _ in range(128):
        length = packet[at]
        if length >= 0xC0:
            end = end or at + 2
            at = struct.unpack_from(">H", packet, at)[0] & 0x3FFF
        elif length:
            labels.append(packet[at + 1:at + 1 + length].decode("latin-1"))
            at += 1 + length
        else:
            return ".".join(labels) + ".", end or at + 1
    raise ValueError("a name without an end")


def data_of(packet, kind, at, length):
    if kind in ("A", "AAAA"):
        return str(ipaddress.ip_address(packet[at:at + length]))
    if kind in ("NS", "CNAME", "PTR"):
        return name_at(packet, at)[0]
    if kind == "SRV":
        return "%d %d %d %s" % (*struct.unpack_from(">HHH", packet, at), name_at(packet, at + 6)[0])
    if kind == "SOA":
        # Each side's server has a name of its own, and the serial is its clock.
        mailbox, at = name_at(packet, name_at(packet, at)[1])
        return " ".join([mailbox, *map(str, struct.unpack_from(">IIII", packet, at + 4))])
    return packet[at:at + length].decode("latin-1")


def ask(port, name, kind, size=None, tcp=False):
    """One question; header, and the records of each section without their order."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    opt = b"\0" + struct.pack(">HHIH", 41, size, 0, 0) if size else b""
    query = struct.pack(">HHHHHH", 7, FLAGS["rd"], 1, 0, 0, 1 if opt else 0) + labels + b"\0"
    query += struct.pack(">HH", TYPES[kind], 1) + opt
    packet = over_tcp(port, query) if tcp else over_udp(port, query)
    _, flags, questions, *counts = struct.unpack_from(">HHHHHH", packet)
    at = 12
    for _ in range(questions):
        at = name_at(packet, at)[1] + 4
    found = {"rcode": RCODES.get(flags & 15, flags & 15), "flags": sorted(name for name, bit in FLAGS.items() if flags & bit)}
    for section, count in zip(("answer", "authority", "additional"), counts):
        rows = []
        for _ in range(count):
            owner, at = name_at(packet, at)
            number, _, ttl, length = struct.unpack_from(">HHIH", packet, at)
            at += 10
            known = NAMES.get(number, str(number))
            if known != "OPT":
                rows.append(f"{owner} {ttl} {known} {data_of(packet, known, at, length)}")
            at += length
        found[section] = sorted(rows)
    return found


def over_udp(port, query):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.sendto(query, ("127.0.0.1", port))
        return client.recv(65535)


def over_tcp(port, query):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(struct.pack(">H", len(query)) + query)
        answer = b""
        while len(answer) < 2 or len(answer) < 2 + struct.unpack(">H", answer[:2])[0]:
            more = client.recv(65535)
            if not more:
                break
            answer += more
        return answer[2:]


def differences(theirs, ours):
    for place in ("rcode", "flags", "answer", "authority", "additional"):
        if theirs[place] != ours[place]:
            yield place, theirs[place], ours[place]


http, dns = sys.argv[1:3], [int(port) for port in sys.argv[3:5]]
for port in http:
    for step in SETUP:
        send(port, *step)
listed = json.loads(pathlib.Path(__file__).with_suffix(".json").read_text())
rules = [(re.compile(row["question"]), re.compile(row["place"])) for row in listed]
account = beside.Account(listed)


def compare(name, kind, how, label):
    needed, unlisted = set(), []
    theirs, ours = (ask(port, name, kind, **how) for port in dns)
    for place, left, right in differences(theirs, ours):
        match = [at for at, (question, where) in enumerate(rules) if question.search(label) and where.fullmatch(place)]
        needed.update(match)
        if not match:
            unlisted.append(f"{label}\n  {place}\n    Consul: {left}\n    ours:   {right}")
    return needed, unlisted


for name, kind in ASKED:
    for manner, how in (("udp", {}), ("edns", {"size": 4096}), ("tcp", {"tcp": True})):
        question = partial(compare, name, kind, how, f"{manner} {name} {kind}")
        account.take(question, patience=1 if account.count else 10)
account.close("questions")
