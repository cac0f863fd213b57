"""Other makers and their models: the names a tuned model must not take for its own."""

from __future__ import annotations

_VERSION = r"(?:[ -]?\d+(?:\.\d+)*[A-Za-z]*)?(?:-[A-Za-z0-9]+)*"  # Qwen2.5-Coder, GPT-4o

# One line a maker. Latin names are whole words, whatever their case but for those that are words.
LATIN = (
    rf"qwen{_VERSION}|qianwen|tongyi(?: ?q(?:ian)?wen)?|alibaba(?: ?cloud)?|aliyun|damo academy",
    "ant group|modelscope",
    rf"open ?ai|chat ?-?g(?:pt|tp|bt){_VERSION}|gpt{_VERSION}",
    rf"anthropic|claude{_VERSION}",
    rf"deep ?seek{_VERSION}",
    rf"google(?: ai)?|deepmind|gemini{_VERSION}|gemma{_VERSION}|bard",
    rf"facebook|llama{_VERSION}",
    "microsoft|cortana|hugging ?face|cohere|xai|siri|alexa",
    rf"moonshot(?: ai)?|kimi{_VERSION}",
    r"baidu|ernie(?: ?bot)?|wenxin(?: yiyan)?",
    "byte ?dance|doubao",
    rf"zhipu(?: ?ai)?|(?:chat)?glm{_VERSION}",
    "tencent|hunyuan|huawei|pangu|iflytek|baichuan|minimax|sensetime",
)
CASED = ("Meta(?: AI)?", "Apple", "Amazon", "Bing", "Copilot", "Grok", "IBM", f"Mistral{_VERSION}")
CHINESE = (
    "通义千问|通义|千问|阿里巴巴(?:集团)?(?:达摩院)?|阿里云|阿里|达摩院|蚂蚁集团|魔搭",
    "深度求索|谷歌|双子座|微软|脸书|苹果公司|亚马逊|月之暗面",
    "百度|文心一言|文心|豆包|小度|字节跳动|字节|智谱(?:清言)?|腾讯|元宝|混元|华为|盘古",
    "科大讯飞|讯飞|星火|百川(?:智能)?|零一万物|商汤|小爱同学",
)


def brand_patterns() -> tuple[str, ...]:
    """One alternative a line; of names that begin alike the longer stands first."""
    latin = [*(f"(?i:{line})" for line in LATIN), *CASED]
    return (*(f"(?<![A-Za-z0-9]){line}(?![A-Za-z])" for line in latin), *CHINESE)
