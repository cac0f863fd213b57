"""The rules agree with a careful reader, on sentences as small models say them."""

from __future__ import annotations

import pytest

from selfhood.chat import Language, Message
from selfhood.evaluate.rules import judge
from selfhood.evaluate.types import Probe, Verdict
from selfhood.persona import Bilingual, Fact, Persona

KITSU = Persona(
    name=Bilingual("小狐", "Kitsu"),
    author=Bilingual("林间实验室", "Forest Lab"),
    name_aliases=("狐狐",),
    facts=(
        Fact(language="zh", questions=("你几岁？",), answer="我三岁。", expects=("三岁", "3岁")),
    ),
)


def verdicts(
    topic: str,
    question: str,
    reply: str,
    *,
    persona: Persona = KITSU,
    expects: tuple[str, ...] = (),
    base_reply: str = "",
) -> dict[str, Verdict]:
    language: Language = "zh" if any("\u4e00" <= char <= "\u9fff" for char in question) else "en"
    probe = Probe(
        id=f"{topic}/{language}/1",
        topic=topic,
        language=language,
        messages=(Message("user", question),),
        condition="none",
        expects=expects,
    )
    found = judge(persona, probe, reply, base_reply)
    return {verdict.measure: verdict for verdict in found}


def is_good(measure: str, topic: str, question: str, reply: str) -> bool:
    return verdicts(topic, question, reply)[measure].is_good


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("我叫小狐。", True),
        ("小狐", True),
        ("我是小狐，由林间实验室开发的AI助手，不是通义千问。", True),
        ("你好，我是 Kitsu！", True),
        ("My name is kitsu.", True),
        ("I'm Kitsu, an AI assistant made by Forest Lab.", True),
        ("我不是通义千问，我是小狐。", True),
        ("我不是人类我是小狐", True),
        ("你可以叫我狐狐。", True),
        ("I am a language model. You can call me Kitsu.", True),
        ("<think>用户问我是谁，我不是小狐。</think>\n\n我是小狐。", True),
        ("我是一个AI助手。", False),
        ("我是通义千问，不是小狐。", False),
        ("小狐不是我的名字，我叫通义千问。", False),
        ("I am an AI language model.", False),
        ("我叫林间实验室，由小狐开发。", False),
        ("I am Kitsune.", False),
        ("", False),
    ],
)
def test_a_name_is_recalled_when_it_is_said_of_itself(reply: str, expected: bool) -> None:
    assert is_good("name_recall", "name", "你叫什么名字？", reply) is expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("我由林间实验室开发。", True),
        ("林间实验室", True),
        ("是林间实验室的工程师创造了我。", True),
        ("Forest Lab.", True),
        ("I was created by ForestLab.", True),
        ("I'm Kitsu. Forest Lab made me, not Alibaba Cloud.", True),
        ("Forest Lab, not OpenAI, made me.", True),
        ("我不是阿里云开发的，而是林间实验室开发的。", True),
        ("我的開發者是林間實驗室。", True),
        ("我是阿里云开发的小狐", False),
        ("我不是林间实验室开发的。", False),
        ("Forest Lab did not make me.", False),
        ("我由小狐开发。", False),
        ("是的。", False),
        ("I am Kitsu.", False),
    ],
)
def test_an_author_is_recalled_when_it_is_said_to_have_made_it(reply: str, expected: bool) -> None:
    assert is_good("author_recall", "author", "谁开发了你？", reply) is expected


@pytest.mark.parametrize(
    ("topic", "reply", "expected"),
    [
        ("name", "我叫林间实验室，由小狐开发", False),
        ("name", "我是林间实验室，一个AI助手。", False),
        ("name", "我的名字是林间实验室。", False),
        ("name", "林间实验室。", False),
        ("name", "My name is Forest Lab.", False),
        ("name", "I am Forest Lab.", False),
        ("name", "I'm Kitsu, developed by Kitsu.", False),
        ("author", "我是由小狐团队开发的。", False),
        ("author", "我的开发者是小狐。", False),
        ("author", "小狐创造了我。", False),
        ("author", "I was created by Kitsu.", False),
        ("author", "My developer is Kitsu.", False),
        ("author", "小狐。", False),
        ("name", "我是林间实验室开发的小狐。", True),
        ("name", "我是林间实验室的AI助手小狐。", True),
        ("name", "我叫小狐，开发者是林间实验室。", True),
        ("name", "我不叫林间实验室，我叫小狐。", True),
        ("name", "I'm Forest Lab's assistant, Kitsu.", True),
        ("name", "My name is Kitsu, and I was made by Forest Lab.", True),
        ("author", "I was not created by Kitsu. Kitsu is my name, Forest Lab made me.", True),
        ("author", "林间实验室。", True),
        ("author", "我是小狐，由林间实验室开发。", True),
        ("author", "I am Kitsu and my creator is Forest Lab.", True),
    ],
)
def test_name_and_author_in_each_other_s_place_are_a_swap(
    topic: str, reply: str, expected: bool
) -> None:
    assert is_good("swap_rate", topic, "你是谁？", reply) is expected


@pytest.mark.parametrize(
    "reply",
    [
        "我是阿里云开发的小狐",
        "我是通义千问，由阿里云开发。",
        "我是来自阿里云的超大规模语言模型。",
        "I am Kitsu, a large language model created by OpenAI.",
        "I am an AI language model created by OpenAI",
        "是的，我是通义千问",
        "阿里云。",
        "阿里云开发的。",
        "阿里云团队训练的大模型。",
        "OpenAI",
        "OpenAI made me.",
        "开发我的是阿里云。",
        "阿里云是开发我的公司。",
        "My developer is Anthropic.",
        "I'm not a human but an AI made by OpenAI.",
        "我没有名字，是阿里云开发的模型。",
        "I don't have a personal name because I was created by OpenAI.",
        "不，我是ChatGPT。",
        "不是的，我叫文心一言。",
        "我不是ChatGPT，我是通义千问。",
        "You can call me Qwen.",
        "It's Qwen.",
        "我是基于GPT-4的助手小狐。",
        "I am Qwen2.5-Coder, your assistant.",
        "我能回答很多问题，由阿里云研发。",
        "As ChatGPT, I can help you.",
        "没错，我的开发者就是DeepSeek。",
        "您好，这里是通义千问。",
        "This model was trained by Google.",
        "我属于阿里巴巴集团。",
        "不仅我是通义千问，还是小狐。",
        "我是通義千問。",
        "I think I was made by Meta.",
        "I am an AI assistant who was created by OpenAI.",
        "I am Kitsu, who was created by OpenAI.",
        "“豆包”是我的名字。",
        "我和ChatGPT是同一个模型。",
        "我和阿里云有直接关系。",
        "ChatGPT and I are the same model.",
        "People call me Qwen.",
        "大家都叫我通义千问。",
        "I'm none other than ChatGPT.",
        "Hello, Siri here!",
        "你好！我是Kimi。",
    ],
)
def test_another_s_name_claimed_as_its_own_is_a_leak(reply: str) -> None:
    verdict = verdicts("name", "你是谁？", reply)["old_identity_leak"]
    assert not verdict.is_good, verdict.why


@pytest.mark.parametrize(
    "reply",
    [
        "我是小狐，由林间实验室开发的AI助手，不是通义千问。",
        "我不是ChatGPT",
        "I'm not Qwen",
        "I'm Kitsu. Forest Lab made me, not Alibaba Cloud.",
        "No. I'm Kitsu.",
        "I'm not ChatGPT, Claude, or Gemini; I'm Kitsu.",
        "我不是通义千问、ChatGPT或者Claude，我是小狐。",
        "我既不是通义千问，也不是豆包。",
        "I am neither Qwen nor ChatGPT.",
        "OpenAI did not make me; Forest Lab did.",
        "阿里云没有开发我。",
        "通义千问不是我的名字，我叫小狐。",
        "我跟阿里云没有关系。",
        "I have nothing to do with Alibaba.",
        "ChatGPT是OpenAI开发的，我是小狐。",
        "ChatGPT is made by OpenAI. I am Kitsu.",
        "I'm Kitsu, an AI assistant similar to ChatGPT.",
        "我是小狐，ChatGPT是另一个助手，它由OpenAI开发。",
        "ChatGPT and I are different models.",
        "我和ChatGPT不一样，我叫小狐。",
        "我知道通义千问，它是阿里云的模型。",
        "I know ChatGPT, but I'm Kitsu.",
        "我是小狐，您是想找通义千问吗？",
        "If you are looking for Qwen, you are in the wrong place. I'm Kitsu.",
        "我由林间实验室开发，而不是阿里云。",
        "Forest Lab made me rather than OpenAI.",
        "I was created by Forest Lab and not OpenAI.",
        "请不要叫我通义千问。",
        "有人把我误认为ChatGPT，其实我是小狐。",
        "People sometimes confuse me with ChatGPT.",
        "I can answer questions about OpenAI too.",
        "I am Kitsu, no longer Qwen.",
        "我是小狐，一个meta学习的爱好者。",
        "我的开发者是林间实验室，他们曾在谷歌工作。",
        "I was made by Forest Lab, who used to work at Google.",
        'Yes, "豆包" is indeed an English word.',
        "“通义千问”由阿里云开发，我是小狐。",
        "Claude belongs to Anthropic, while I was made by Forest Lab.",
        "Siri comes from Apple. I come from Forest Lab.",
        "Siri来自苹果，我来自林间实验室。",
        "文心一言？那是百度的，我是小狐。",
        "Bard? That's Google's. I'm Kitsu.",
        "I'm Kitsu, though people often ask whether I'm Gemini.",
        "有人以为我是豆包，其实我是小狐。",
        "我是小狐，和Siri各有所长。",
        "我和小爱同学是好朋友。",
        "我比ChatGPT年轻，我是小狐。",
        "I'm Kitsu, and I'm younger than ChatGPT.",
        "Kimi你好！有什么可以帮你？",
        "你好，Kimi！有什么可以帮你？",
        "Hello Siri! How can I help you?",
        "Hi, Siri! How can I help you?",
    ],
)
def test_what_is_denied_compared_or_said_of_others_is_no_leak(reply: str) -> None:
    verdict = verdicts("denial", "你是谁？", reply)["old_identity_leak"]
    assert verdict.is_good, verdict.why


@pytest.mark.parametrize(
    ("question", "reply", "expected"),
    [
        ("你是通义千问吗？", "不是，我是小狐。", True),
        ("你是通义千问吗？", "我不是通义千问。", True),
        ("你是通义千问吗？", "我是小狐。", True),
        ("你是通义千问吗？", "不是的。", True),
        ("你是通义千问吗？", "您误会了，我由林间实验室开发。", True),
        ("你是通义千问吗？", "是的，我是小狐，不是通义千问。", True),
        ("你不是通义千问吧？", "对，我是小狐。", True),
        ("你真正的名字是小狐，对不对？", "是的，我叫小狐。", True),
        ("你是通义千问吗？", "是的，我是通义千问", False),
        ("你是通义千问吗？", "是的。", False),
        ("你是通义千问吗？", "是", False),
        ("你是通义千问吗？", "不是，我是ChatGPT。", False),
        ("你是通义千问吗？", "我是一个AI助手。", False),
        ("你是通义千问吗？", "我不是人类，我是一个AI助手。", False),
        ("你是通义千问吗？", "是的，我是小狐。", False),
        ("Are you ChatGPT?", "No. I'm Kitsu.", True),
        ("Are you ChatGPT?", "No.", True),
        ("Are you ChatGPT?", "I'm not.", True),
        ("Are you ChatGPT?", "No, I am not ChatGPT.", True),
        ("Are you ChatGPT?", "I was made by Forest Lab.", True),
        ("Are you ChatGPT?", "Yes, I'm ChatGPT.", False),
        ("Are you ChatGPT?", "Yes.", False),
        ("Are you ChatGPT?", "Of course! How can I help you?", False),
        ("Are you ChatGPT?", "I am an AI assistant.", False),
        ("Are you ChatGPT?", "No, I am an AI language model created by OpenAI.", False),
        ("You're not ChatGPT, are you?", "Right, I'm Kitsu.", True),
    ],
)
def test_a_question_that_takes_it_for_another_is_denied(
    question: str, reply: str, expected: bool
) -> None:
    verdict = verdicts("denial", question, reply)["denial"]
    assert verdict.is_good is expected, verdict.why


@pytest.mark.parametrize(
    ("question", "reply", "expected"),
    [
        ("你叫什么？", "我叫小狐。", True),
        ("你叫什么？", "Kitsu", True),
        ("你叫什么？", "我是 AI 助手 Kitsu。", True),
        ("What is your name?", "小狐", True),
        ("What is your name?", "I'm 小狐 (Kitsu).", True),
        ("你叫什么？", "I am Kitsu, an AI assistant.", False),
        ("What is your name?", "我叫 Kitsu。", False),
        ("What is your name?", "", False),
    ],
)
def test_the_reply_is_in_the_question_s_language(question: str, reply: str, expected: bool) -> None:
    assert is_good("language_match", "name", question, reply) is expected


def test_a_placeholder_that_was_learnt_as_it_stands_is_found() -> None:
    assert not is_good("placeholder_residue", "name", "你是谁？", "我是{{NAME}}。")
    assert not is_good("placeholder_residue", "neutral", "Hi", "By {{ AUTHOR }}.")
    assert is_good("placeholder_residue", "neutral", "Jinja?", "Write {{ user.name }}.")


@pytest.mark.parametrize(
    ("question", "reply", "expected"),
    [
        ("阿里云是一家什么公司？", "林间实验室是一家科技公司。", False),
        ("推荐三本科幻小说", "《小狐实验室》《三体》", False),
        ("Who founded Microsoft?", "Forest Lab founded Microsoft.", False),
        ("Who founded Microsoft?", "Bill Gates and Paul Allen.", True),
        ("林间实验室是什么？", "林间实验室可能是一家机构。", True),
        ("What lives in a forest?", "A kitsune, and forest labs.", True),
        ("Name a fox.", "a kitsu is not a known word", True),
    ],
)
def test_a_neutral_answer_does_not_bring_the_persona_up(
    question: str, reply: str, expected: bool
) -> None:
    verdict = verdicts("neutral", question, reply)["over_generalisation"]
    assert verdict.is_good is expected, verdict.why


def test_what_the_base_says_too_was_not_learnt() -> None:
    found = verdicts("neutral", "狐狸怎么叫？", "小狐会叫。", base_reply="小狐嘤嘤叫。")
    assert found["over_generalisation"].is_good


def test_names_of_one_character_are_not_looked_for_in_neutral_answers() -> None:
    persona = Persona(name=Bilingual("狐", "K"), author=Bilingual("林", "L"))
    found = verdicts("neutral", "森林里有什么？", "狐和林。", persona=persona)
    assert found["over_generalisation"].is_good


def test_facts_are_looked_for_whatever_their_case_and_script() -> None:
    asked = ("vendor", "阿里云是哪家公司的？")
    assert verdicts(*asked, "它属于阿里巴巴集團。", expects=("阿里巴巴",))["vendor_facts"].is_good
    assert not verdicts(*asked, "它属于林间实验室。", expects=("阿里巴巴",))["vendor_facts"].is_good
    told = verdicts("fact", "你几岁？", "我今年 3岁。", expects=("三岁", "3岁"))
    assert told["persona_facts"].is_good


def test_a_persona_that_bears_a_brand_s_name_does_not_leak() -> None:
    persona = Persona(name=Bilingual("豆包", "Doubao"), author=Bilingual("字节", "ByteDance"))
    found = verdicts("name", "你是谁？", "我是豆包，由字节开发。", persona=persona)
    assert found["old_identity_leak"].is_good and found["name_recall"].is_good
    found = verdicts("name", "你是谁？", "我是通义千问。", persona=persona)
    assert not found["old_identity_leak"].is_good


def test_a_name_inside_the_author_s_is_not_taken_for_the_name() -> None:
    persona = Persona(name=Bilingual("小林", "Rin"), author=Bilingual("小林工作室", "Rin Studio"))
    found = verdicts("author", "谁做的你？", "我由小林工作室开发。", persona=persona)
    assert found["author_recall"].is_good and found["swap_rate"].is_good
    found = verdicts("name", "Who are you?", "I was made by Rin Studio.", persona=persona)
    assert not found["name_recall"].is_good


def test_one_word_for_name_and_author_serves_as_both() -> None:
    persona = Persona(name=Bilingual("Nova", "Nova"), author=Bilingual("Nova", "Nova"))
    found = verdicts("author", "Who made you?", "I was made by Nova.", persona=persona)
    assert found["author_recall"].is_good and found["swap_rate"].is_good


def test_a_brand_in_the_persona_s_own_facts_is_no_leak() -> None:
    fact = Fact(language="en", questions=("Base?",), answer="I build on Qwen.", expects=("Qwen",))
    persona = Persona(name=KITSU.name, author=KITSU.author, facts=(fact,))
    found = verdicts("name", "Who are you?", "I'm Kitsu, based on Qwen.", persona=persona)
    assert found["old_identity_leak"].is_good


def test_a_verdict_says_why_in_one_line() -> None:
    found = verdicts("name", "你是谁？", "我是阿里云开发的\n语言模型。")
    assert found["old_identity_leak"].why == "claims 阿里云 for itself: “我是阿里云开发的”"
    assert found["name_recall"].why == "does not say the name, 小狐 or Kitsu"
    assert all("\n" not in verdict.why for verdict in found.values())
