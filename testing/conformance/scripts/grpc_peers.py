"""A gRPC server and a client by gRPC's authors, with bytes for messages, so that no .proto is needed.

usage: grpc_peers.py serve NAME            prints its port, serves until its input ends
       grpc_peers.py call TARGET AUTHORITY prints what came back
"""
import sys
from concurrent import futures

import grpc


def identity(message):
    return message


class Echo(grpc.GenericRpcHandler):
    """Echo/Unary answers once; Echo/Stream answers each message as it comes; Echo/Fail fails late."""

    def __init__(self, name):
        self.name = name.encode()

    def service(self, details):
        if details.method == "/conformance.Echo/Unary":
            return grpc.unary_unary_rpc_method_handler(self.unary, identity, identity)
        if details.method == "/conformance.Echo/Stream":
            return grpc.stream_stream_rpc_method_handler(self.stream, identity, identity)
        if details.method == "/conformance.Echo/Fail":
            return grpc.unary_stream_rpc_method_handler(self.fail, identity, identity)
        return None

    def unary(self, request, context):
        context.set_trailing_metadata((("x-trailer", "late"),))
        return self.name + b":" + request

    def stream(self, requests, context):
        for request in requests:
            yield self.name + b":" + request

    def fail(self, request, context):
        yield b"first"
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no more")


def serve(name):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    server.add_generic_rpc_handlers((Echo(name),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


def call(target, authority):
    options = (("grpc.default_authority", authority),)
    with grpc.insecure_channel(target, options=options) as channel:
        unary = channel.unary_unary("/conformance.Echo/Unary", identity, identity)
        answer, details = unary.with_call(b"hello", timeout=10)
        print("unary", answer.decode(), dict(details.trailing_metadata()).get("x-trailer"))

        # Each message is sent only after the answer to the one before: nothing may be held back.
        answers = []

        def requests():
            for number in range(3):
                yield b"m%d" % number
                while len(answers) <= number:
                    pass

        stream = channel.stream_stream("/conformance.Echo/Stream", identity, identity)
        for answer in stream(requests(), timeout=10):
            answers.append(answer)
        print("stream", b" ".join(answers).decode())

        fail = channel.unary_stream("/conformance.Echo/Fail", identity, identity)(b"", timeout=10)
        seen = []
        try:
            for answer in fail:
                seen.append(answer.decode())
        except grpc.RpcError as error:
            print("fail", " ".join(seen), error.code().name, error.details())


if __name__ == "__main__":
    {"serve": serve, "call": call}[sys.argv[1]](*sys.argv[2:])
