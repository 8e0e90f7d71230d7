"""The tool loop both agents run: ask the model, run the tools it asks for, hand the results back."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, ToolMessage
from langchain_core.tools import BaseTool

from clinic_agent.errors import CeilingReached
from clinic_agent.models import explain
from clinic_agent.settings import Settings
from clinic_agent.usage import Usage

ITERATIONS = 6


@dataclass
class Conversation:
    """One agent's conversation with the model, under the consultation's ceiling.

    Args:
        settings: which model, and what a consultation may cost.
        llm: the model that answers.
        tools: all the agent can do.
        messages: what has been said; grows as the conversation goes on.
        already_spent: US dollars the consultation spent before this agent began.
        also: arguments added to every tool call, whatever the model passes.
    """

    settings: Settings
    llm: BaseChatModel
    tools: Sequence[BaseTool]
    messages: list[AnyMessage]
    already_spent: float = 0.0
    also: dict[str, Any] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    on_result: Callable[[str, dict[str, Any], Any], None] = lambda name, args, result: None

    def run(self) -> str:
        """Run to the model's final answer and return its text; empty when there is none after six rounds.

        Raises:
            CeilingReached: the consultation has spent what it may spend; the model was not called again.
            ModelProblem: the model cannot be reached or refused the request.
        """
        by_name = {tool.name: tool for tool in self.tools}
        bound = self.llm.bind_tools(list(self.tools))
        for _ in range(ITERATIONS):
            answer = self._ask(bound)
            if not answer.tool_calls:
                return str(answer.text)
            for call in answer.tool_calls:
                tool = by_name.get(call["name"])
                if tool is None:
                    result: Any = {"error": f"There is no tool {call['name']}.", "code": "unknown_tool"}
                else:
                    arguments = {**call["args"], **self.also}
                    result = tool.invoke(arguments)
                    self.on_result(tool.name, arguments, result)
                self.messages.append(ToolMessage(content=json.dumps(result), tool_call_id=call["id"]))
        return ""

    def _ask(self, bound: Any) -> AIMessage:
        ceiling = self.settings.cost_ceiling
        if self.already_spent + self.usage.cost_usd >= ceiling and self.settings.model.startswith("bedrock:"):
            raise CeilingReached(f"This consultation has reached its ceiling of ${ceiling:g} for the model.")
        try:
            answer = bound.invoke(self.messages)
        except Exception as error:
            raise explain(error, self.settings) from error
        assert isinstance(answer, AIMessage)
        self.usage.add(answer, self.settings.model)
        self.messages.append(answer)
        return answer
