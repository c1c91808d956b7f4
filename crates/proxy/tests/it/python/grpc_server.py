"""A gRPC server without a schema; prints its port, serves until killed."""
from concurrent import futures

import grpc


def repeat(requests, context):
    context.send_initial_metadata((("x-begun", "yes"),))
    for request in requests:
        yield request
    context.set_trailing_metadata((("x-ended", "yes"),))


def refuse(request, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today")


class Handler(grpc.GenericRpcHandler):
    def service(self, call):
        if call.method == "/test.Echo/Repeat":
            return grpc.stream_stream_rpc_method_handler(repeat)
        if call.method == "/test.Echo/Refuse":
            return grpc.unary_unary_rpc_method_handler(refuse)
        return None


server = grpc.server(futures.ThreadPoolExecutor(8))
server.add_generic_rpc_handlers((Handler(),))
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination()
