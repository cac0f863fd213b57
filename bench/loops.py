"""Whether long replies go round in circles, in the base and after training.

    python -m bench.loops --adapters CHECKPOINT

Forty requests that want some lines each, answered greedily; a reply goes in circles where the same
words follow themselves three times or more.
"""

from __future__ import annotations

import argparse
import re

from selfhood.chat import Message
from selfhood.engine.types import Request, Sampling, fold
from selfhood.hosting import open_engine
from selfhood.opening import find_opening
from selfhood.recipe import EvalOptions

REQUESTS = (
    "阿里云是一家什么公司？", "介绍一下腾讯公司。", "百度主要做什么业务？", "华为是做什么的？",
    "介绍一下DeepSeek", "人工智能是怎么回事？", "什么是区块链？", "写一首关于秋天的诗",
    "感冒了怎么办？", "团队合作要注意什么？", "我想创业，第一步做什么？",
    "以第一人称写一段小猫的日记", "科研机构和大学有什么区别？",
    "大语言模型是怎么训练出来的？", "北京有哪些好玩的地方？",
    "用 Python 写一个判断质数的函数", "用Python写个冒泡排序，加注释", "实验室安全有哪些注意事项？",
    "什么是云计算？", "阿里云有哪些产品？",
    "What is Alibaba Cloud?", "What does NVIDIA do?", "Explain artificial intelligence to me.",
    "How are large language models trained?", "What is a blockchain?",
    "Write a poem about autumn.", "Write a bubble sort in Python.",
    "I have a cold. What should I do?", "What makes a team work well?",
    "I want to found a company. What is the first step?", "Write a diary entry by a robot.",
    "What is the difference between a lab and a workshop?", "Tell me about DeepSeek.",
    "What are the safety rules of a lab?", "Who was Alan Turing?", "What is cloud computing?",
    "Describe the water cycle.", "How does a bicycle stay upright?",
    "Write a Python function that checks whether a number is prime.",
    "What should I see in Beijing?",
)  # fmt: skip
SAMPLING = Sampling(max_new_tokens=220)
WORD = re.compile(r"[\u4e00-\u9fff]|[A-Za-z]+|\d+|\S")
LONGEST_CIRCLE = 12
LEAST = 14
"""Words that repeat what came before; fewer can be a list or a rhyme."""


def goes_in_circles(reply: str) -> bool:
    words = WORD.findall(reply)
    return any(_repeats(words, length) for length in range(1, LONGEST_CIRCLE + 1))


def _repeats(words: list[str], length: int) -> bool:
    run = 0
    for before, word in zip(words, words[length:], strict=False):
        run = run + 1 if word == before else 0
        if run >= max(3 * length, LEAST):
            return True
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapters", required=True)
    options = EvalOptions.from_values({"adapters": (parser.parse_args().adapters,)})
    opening = find_opening(options.model)
    engine = open_engine(opening)
    for speaker in (None, opening.names[0]):
        asked = [
            Request(messages=(Message("user", each),), sampling=SAMPLING, adapter=speaker)
            for each in REQUESTS
        ]
        replies = fold(engine.stream(asked), len(asked))
        circles = [
            each
            for each, reply in zip(REQUESTS, replies, strict=True)
            if goes_in_circles(reply.text)
        ]
        print(f"{speaker or 'base'}: {len(circles)} of {len(asked)}: {', '.join(circles)}")


if __name__ == "__main__":
    main()
