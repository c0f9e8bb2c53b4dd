"""The relay's interface, as far as this component uses it. All of it: relay/openapi.json of Towpath."""

import json
from typing import Any, Awaitable, Callable

Send = Callable[[str, dict[str, str], bytes], Awaitable[tuple[int, bytes]]]


class Refused(Exception):
    """The relay's answer, where it is a problem document. `retryable` says whether the same may work later."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(problem.get("detail", "the relay refused it"))
        self.retryable = bool(problem.get("retryable", True))


class Relay:
    def __init__(self, url: str, token: str, send: Send) -> None:
        self.url, self.token, self.send = url.rstrip("/"), token, send

    async def run(self, unit: dict[str, Any]) -> dict[str, Any]:
        """One unit of work: its steps in one transaction, its events published if that commits."""
        return await self._ask("/v1/transactions", unit)

    async def query(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        """One read. Its rows, by the names of their columns."""
        answer = await self._ask("/v1/queries", query)
        return [dict(zip(answer["columns"], row)) for row in answer["rows"]]

    async def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        try:
            status, answer = await self.send(self.url + path, headers, json.dumps(body).encode())
        except Exception as error:
            raise Refused({"detail": f"the relay doesn't answer: {error}"}) from error
        if status != 200:
            try:
                raise Refused(json.loads(answer))
            except ValueError:
                raise Refused({"detail": f"the relay answered {status}"}) from None
        return json.loads(answer)
