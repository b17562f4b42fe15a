"""Serves moto's DynamoDB, which LocalStack brings along, on the loopback: serve_dynamodb.py PORT. Stays in the foreground.

LocalStack's own DynamoDB is Amazon's in Java; moto's, which LocalStack uses for other services, is Python and keeps what it is
given in memory.
"""

import os
import sys

os.environ.update(AWS_ACCESS_KEY_ID="none", AWS_SECRET_ACCESS_KEY="none")

from moto.dynamodb.responses import DynamoHandler  # noqa: E402
from werkzeug import Request, Response, run_simple  # noqa: E402


@Request.application
def serve(request):
    if request.method != "POST":
        return Response("up")
    status, headers, body = DynamoHandler.dispatch(request, request.url, request.headers)
    return Response(body, status, {name: str(value) for name, value in headers.items()})


run_simple("127.0.0.1", int(sys.argv[1]), serve, threaded=True)
