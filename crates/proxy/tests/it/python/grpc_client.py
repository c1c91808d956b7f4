"""Calls the service "calls" through the proxy at the given port."""
import queue
import sys

import grpc

channel = grpc.insecure_channel(f"127.0.0.1:{sys.argv[1]}", options=[("grpc.default_authority", "calls"), ("grpc.enable_http_proxy", 0)])
repeat = channel.stream_stream("/test.Echo/Repeat")

# Each answer is awaited before the next request: nothing may be held back on the way.
says = queue.Queue()
call = repeat(iter(says.get, None), timeout=20)
for number in range(50):
    message = b"m%d" % number
    says.put(message)
    assert next(call) == message
says.put(None)
assert list(call) == []
assert ("x-begun", "yes") in call.initial_metadata()
assert ("x-ended", "yes") in call.trailing_metadata()
assert call.code() == grpc.StatusCode.OK

try:
    channel.unary_unary("/test.Echo/Refuse")(b"", timeout=20)
    raise AssertionError("it was not refused")
except grpc.RpcError as error:
    assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "not today"), error

lost = grpc.insecure_channel(f"127.0.0.1:{sys.argv[1]}", options=[("grpc.default_authority", "nobody"), ("grpc.enable_http_proxy", 0)])
try:
    lost.unary_unary("/test.Echo/Refuse")(b"", timeout=20)
    raise AssertionError("nobody answered")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED and "nobody" in error.details(), error
print("all calls went through")
