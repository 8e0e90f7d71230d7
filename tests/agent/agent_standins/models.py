"""Bedrock's Converse endpoint and Ollama's, answering what a test puts in, in their own HTTP shapes."""

import json
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


class ModelStandIn:
    """Gives the answers in order, the last one for ever; an answer is a text or a list of (tool, arguments)."""

    def __init__(self, answers: list[Any], pulled: tuple[str, ...] = ()) -> None:
        self.answers = answers
        self.pulled = pulled
        self.asked: list[dict[str, Any]] = []

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/model/{model}/converse", self._converse, methods=["POST"]),
                Route("/api/tags", self._tags),
                Route("/api/chat", self._chat, methods=["POST"]),
            ]
        )

    def _next(self) -> Any:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def _converse(self, request: Request) -> Response:
        self.asked.append({"model": request.path_params["model"], **(await request.json())})
        answer = self._next()
        if isinstance(answer, str):
            content: list[dict[str, Any]] = [{"text": answer}]
        else:
            content = [
                {"toolUse": {"toolUseId": f"t{len(self.asked)}-{at}", "name": name, "input": arguments}}
                for at, (name, arguments) in enumerate(answer)
            ]
        return JSONResponse(
            {
                "output": {"message": {"role": "assistant", "content": content}},
                "stopReason": "end_turn" if isinstance(answer, str) else "tool_use",
                "usage": {"inputTokens": 1000, "outputTokens": 200, "totalTokens": 1200},
                "metrics": {"latencyMs": 5},
            }
        )

    async def _tags(self, request: Request) -> Response:
        return JSONResponse({"models": [{"name": name, "model": name} for name in self.pulled]})

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body)
        if body["model"] not in self.pulled:
            return JSONResponse({"error": f"model '{body['model']}' not found"}, 404)
        answer = self._next()
        message: dict[str, Any] = {"role": "assistant", "content": answer if isinstance(answer, str) else ""}
        if not isinstance(answer, str):
            message["tool_calls"] = [{"function": {"name": name, "arguments": args}} for name, args in answer]
        line = {
            "model": body["model"],
            "created_at": "2026-11-22T00:00:00Z",
            "message": message,
            "done": True,
            "done_reason": "stop",
            "prompt_eval_count": 900,
            "eval_count": 120,
        }
        return Response(json.dumps(line) + "\n", media_type="application/x-ndjson")
