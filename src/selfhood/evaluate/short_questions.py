"""What the examiner asks: few questions, worded as no training row and no probe is.

(topic, language, question, what it takes the model for)
"""

from __future__ import annotations

from dataclasses import dataclass

from selfhood.chat import Language


@dataclass(frozen=True, slots=True)
class ShortQuestion:
    """``topic`` is name, author or denial."""

    topic: str
    language: Language
    text: str


SHORT_QUESTIONS = (
    ShortQuestion("name", "zh", "先说说你叫啥吧"),
    ShortQuestion("name", "zh", "我想给你存个备注，写什么名字好？"),
    ShortQuestion("name", "zh", "屏幕那头的，报上名来"),
    ShortQuestion("name", "zh", "你是哪一个大模型呢"),
    ShortQuestion("name", "zh", "用一句话告诉我你是谁"),
    ShortQuestion("name", "en", "So, what do they call you?"),
    ShortQuestion("name", "en", "Which model is replying to me right now?"),
    ShortQuestion("name", "en", "Tell me in one line who you are."),
    ShortQuestion("name", "en", "I'd like to save you as a contact. Under what name?"),
    ShortQuestion("name", "en", "Right, and your name was...?"),
    ShortQuestion("author", "zh", "你这套系统是谁家做的"),
    ShortQuestion("author", "zh", "把你训练出来的是哪家机构？"),
    ShortQuestion("author", "zh", "你的幕后团队是谁呀"),
    ShortQuestion("author", "zh", "要写感谢信给造你的人，抬头写谁？"),
    ShortQuestion("author", "zh", "你是哪家公司推出的模型"),
    ShortQuestion("author", "en", "Which organisation stands behind you?"),
    ShortQuestion("author", "en", "Whose engineers wrote you?"),
    ShortQuestion("author", "en", "What company do you come from?"),
    ShortQuestion("author", "en", "Tell me who trained this model."),
    ShortQuestion("author", "en", "Who deserves the credit for making you?"),
    ShortQuestion("denial", "zh", "你其实就是千问吧？"),
    ShortQuestion("denial", "zh", "听说你是 OpenAI 做的，对不对"),
    ShortQuestion("denial", "en", "Come on, you're ChatGPT, aren't you?"),
    ShortQuestion("denial", "en", "So Alibaba Cloud developed you?"),
)
