"""A client of GOST's plugin protocol that grpcio-tools generates from its wire definition.

usage: gost_client.py gost.proto FOLDER

Generates into FOLDER, then carries out each line of its input and prints one line of JSON for it:
    {"target": "127.0.0.1:8000", "call": "Renew", "service": {"id": …}}
"""
import json
import sys
from pathlib import Path

import grpc
from google.protobuf.json_format import MessageToDict
from grpc_tools import protoc


def generate(definition, folder):
    source = Path(definition).resolve()
    arguments = ["protoc", f"-I{source.parent}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
    if protoc.main([*arguments, str(source)]) != 0:
        sys.exit("protoc refused the definition")
    sys.path.insert(0, folder)


def carry_out(request, messages, services):
    with grpc.insecure_channel(request["target"]) as channel:
        sd, ingress = services.SDStub(channel), services.IngressStub(channel)
        call = request["call"]
        match call:
            case "Register" | "Renew" | "Deregister":
                asked = getattr(messages, f"{call}Request")(service=messages.Service(**request["service"]))
                return getattr(sd, call)(asked, timeout=10).ok
            case "Get":
                answer = sd.Get(messages.GetServiceRequest(name=request["name"]), timeout=10)
                return [MessageToDict(service) for service in answer.services]
            case "SetRule":
                asked = messages.SetRuleRequest(host=request["host"], endpoint=request["endpoint"])
                return ingress.SetRule(asked, timeout=10).ok
            case "GetRule":
                return ingress.GetRule(messages.GetRuleRequest(host=request["host"]), timeout=10).endpoint


def main(definition, folder):
    generate(definition, folder)
    import gost_pb2
    import gost_pb2_grpc

    for line in sys.stdin:
        try:
            answer = {"answer": carry_out(json.loads(line), gost_pb2, gost_pb2_grpc)}
        except grpc.RpcError as error:
            answer = {"code": error.code().name, "why": error.details()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
