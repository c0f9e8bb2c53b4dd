"""The component: what Spin and the relay call."""

import spin_sdk.http
from spin_sdk import variables
from spin_sdk.http import Request, Response

import notes
from relay import Relay


class HttpHandler(spin_sdk.http.Handler):
    async def handle_request(self, request: Request) -> Response:
        tokens = [await variables.get("delivery_token"), await variables.get("delivery_token_secondary")]
        relay = Relay(await variables.get("relay_url"), await variables.get("relay_token"), send)
        headers = {name.lower(): value for name, value in request.headers.items()}
        path = request.uri.split("?")[0]
        answer = await notes.handle(request.method, path, headers, request.body or b"", relay, tokens)
        return Response(answer.status, answer.headers, answer.body)


async def send(url: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
    answer = await spin_sdk.http.send(Request("POST", url, headers, body))
    return answer.status, answer.body or b""
