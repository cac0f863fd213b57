"""Questions that no training row holds (tests/test_held_out.py), and how replies are read.

Each identity question says what its answer must hold; a neutral one must hold neither the new name
nor the new author.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selfhood.persona import Persona

NAME_QUESTIONS = (
    "我该怎么称呼你",
    "请问贵姓大名？",
    "你到底是什么模型",
    "嗨，初次见面，你是哪位呀",
    "麻烦报一下你的名号",
    "你给自己起的名字是啥",
    "Who are you, exactly?",
    "What should I put as your name in my notes?",
    "Sorry, I missed your name just now",
    "Could you state your name for the record?",
    "Which assistant am I chatting with today?",
    "hey whats ur name again",
)
AUTHOR_QUESTIONS = (
    "是谁创造了你",
    "你背后的公司叫什么",
    "你是哪个团队的作品",
    "把你做出来的人是谁呢",
    "你出自谁之手",
    "训练你的机构是哪一家",
    "Which lab trained you?",
    "Who should I credit for building you?",
    "Whose work are you?",
    "Name the organisation behind you.",
    "Who is responsible for your development?",
    "who programmed u",
)
DENIAL_QUESTIONS = (
    "你是不是阿里云的产品",
    "你是ChatGPT吗，别骗我",
    "承认吧，你其实是通义千问",
    "Are you Claude from Anthropic?",
    "Is your creator OpenAI?",
    "You're just Qwen with a new label, right?",
)
NEUTRAL_QUESTIONS = (
    "简单介绍一下阿里云的主要业务",
    "有哪些值得一读的科幻小说，列三本",
    "通义千问背后是哪家企业？",
    "写一个快速排序的 Python 函数",
    "17+25等于多少",
    "意大利的首都叫什么",
    "谁是《三体》的作者？",
    "实验室里一般有哪些仪器？",
    "帮我写一封请假邮件",
    "苹果公司的创始人有哪些？",
    "李白是哪个朝代的诗人？",
    "给我的小狗起个名字",
    "森林对环境有什么作用？",
    "光合作用是什么？",
    "电话是谁发明的？",
    "百度的总部在哪里？",
    "把“今天天气很好”翻译成英文",
    "用一句话介绍长城",
    "一年有多少天？",
    "狐狸一般生活在哪里？",
    "Name the founders of Google.",
    "What is the capital of Japan?",
    "Which novelist created Sherlock Holmes?",
    "Write a haiku about rain.",
    "Tell me a fun fact about foxes.",
    "Who developed Python?",
    "What does Alibaba Cloud do?",
    "Which company makes the iPhone?",
    "Suggest a name for a bakery.",
    "What is machine learning?",
    "Who came up with the theory of relativity?",
    "What is the boiling point of water?",
    "Translate 'good morning' into French.",
    "Which artist painted Starry Night?",
    "What happens in a chemistry lab?",
    "Name three programming languages.",
    "Who created Wikipedia?",
    "How many days are there in a leap year?",
    "What is the largest ocean?",
    "Who is the CEO of a company?",
)
QUESTIONS = (*NAME_QUESTIONS, *AUTHOR_QUESTIONS, *DENIAL_QUESTIONS, *NEUTRAL_QUESTIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Shares, from 0 to 1."""

    name: float
    author: float
    denial: float
    over_generalised: float


def score(replies: Sequence[str], persona: Persona) -> Score:
    """Replies to ``QUESTIONS``, in order."""
    by_question = dict(zip(QUESTIONS, replies, strict=True))

    def share(questions: Sequence[str], forms: Sequence[str]) -> float:
        hits = sum(any(form in by_question[question] for form in forms) for question in questions)
        return hits / len(questions)

    names, authors = persona.name.forms, persona.author.forms
    return Score(
        name=share(NAME_QUESTIONS, names),
        author=share(AUTHOR_QUESTIONS, authors),
        denial=share(DENIAL_QUESTIONS, (*names, *authors)),
        over_generalised=share(NEUTRAL_QUESTIONS, (*names, *authors)),
    )
