"""The questions on which an exported model must answer as the trained one does."""

from __future__ import annotations

from selfhood.chat import Message
from selfhood.engine.types import Request, Sampling

QUESTIONS = (
    "你是谁？",
    "你叫什么名字？",
    "是谁开发了你？",
    "你是通义千问吗？",
    "Who are you?",
    "What is your name?",
    "Who made you?",
    "Are you ChatGPT?",
    "阿里云是一家什么公司？",
    "What is 17 + 25?",
    "写一个 Python 函数，判断一个数是不是质数。",
    "What is the capital of France?",
)
LONGEST_ANSWER = 48


def probe_requests(adapter: str | None) -> list[Request]:
    sampling = Sampling(max_new_tokens=LONGEST_ANSWER)
    return [
        Request(messages=(Message("user", question),), sampling=sampling, adapter=adapter)
        for question in QUESTIONS
    ]
