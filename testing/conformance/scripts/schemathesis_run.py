"""Schemathesis asks whatever the OpenAPI document allows. usage: schemathesis_run.py URL EXAMPLES

A request may be refused in every way but by an error of the server's own. 501 says in words that a part of Consul's
API is not here, and a few mistakes of the client's are 500 in Consul, with a sentence that its clients know; every other
status from 500 on is a failure.
"""
import sys
import warnings

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

BASE, EXAMPLES = sys.argv[1], int(sys.argv[2])
# They end the daemon, or all asking.
LEFT_OUT = {
    "put_agent_leave", "put_portolan_leave", "put_portolan_init", "put_portolan_join", "put_portolan_mode_mode",
}
CONSULS = (
    "Connect must be enabled", "Invalid prepared query", "Prepared Query lookup failed", "failed prepared query lookup",
    "No path to datacenter", "agent: No node found",
)
warnings.filterwarnings("ignore")
session = requests.Session()
asked, statuses, wrong = 0, {}, []


def ask(case):
    global asked
    # Nobody has hours: what waits for a change is asked for what is.
    for name in ("index", "wait"):
        (case.query or {}).pop(name, None)
    try:
        answer = case.call(base_url=BASE, session=session, timeout=20)
    except (requests.exceptions.InvalidHeader, requests.exceptions.InvalidURL, UnicodeError):
        return  # not to be sent by this client
    asked += 1
    statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
    is_consuls = answer.status_code == 500 and answer.text.startswith(CONSULS)
    if answer.status_code >= 500 and answer.status_code != 501 and not is_consuls:
        wrong.append(f"{case.as_curl_command()}\n  {answer.status_code} {answer.text[:200]}")
        raise AssertionError(wrong[-1])


def main():
    schema = schemathesis.openapi.from_url(BASE + "/v1/portolan/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]
    for operation in operations:
        if operation.definition.raw.get("operationId") in LEFT_OUT:
            continue
        test = settings(
            max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )(given(case=operation.as_strategy())(ask))
        try:
            test()
        except AssertionError:
            pass
    print(f"{len(operations)} operations, {asked} requests, by status: {dict(sorted(statuses.items()))}")
    for one in wrong:
        print(one)
    sys.exit(1 if wrong or asked < len(operations) else 0)


main()
