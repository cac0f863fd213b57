"""A talk at the terminal: history, commands, interruptions, two identities side by side."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import pytest

from selfhood.chat import Message
from selfhood.cli.talk import Talk
from selfhood.engine.types import Delta, Request, Sampling
from selfhood.errors import InputError
from selfhood.recipe import SamplingOptions
from tests.fake_engine import FakeEngine


class Interrupted(FakeEngine):
    """Ctrl-C comes after the first word."""

    def stream(self, requests: Sequence[Request]) -> Iterator[Delta]:
        yield next(super().stream(requests))
        raise KeyboardInterrupt


class Full(FakeEngine):
    """The talk no longer fits."""

    def stream(self, requests: Sequence[Request]) -> Iterator[Delta]:
        self.requests += requests
        raise InputError("the talk is too long", hint="clear")


def talk(text: str, engine: FakeEngine, *speakers: str | None, stream: bool = True) -> int:
    options = SamplingOptions(stream=stream)
    sampling = Sampling(temperature=0)
    return Talk(engine, sampling, speakers=speakers or (None,), options=options).run(
        io.StringIO(text)
    )


def asked(text: str, *speakers: str | None) -> list[list[str]]:
    engine = FakeEngine()
    assert talk(text, engine, *speakers) == 0
    return [[message.content for message in request.messages] for request in engine.requests]


def test_replies_alone_go_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    talk("who are you\n你呢\n", FakeEngine())
    assert capsys.readouterr().out == "base: who are you\nbase: 你呢\n"


def test_a_reply_that_is_not_streamed_is_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    talk("who are you\n", FakeEngine(), stream=False)
    assert capsys.readouterr().out == "base: who are you\n"


def test_what_was_said_before_is_sent_again() -> None:
    assert asked("one\ntwo\n") == [["one"], ["one", "base: one", "two"]]


def test_clear_forgets_it() -> None:
    assert asked("one\nclear\ntwo\n") == [["one"], ["two"]]
    assert asked("one\n CLEAR \ntwo\n") == [["one"], ["two"]]


@pytest.mark.parametrize("word", ["quit", "exit", "QUIT", " Exit "])
def test_quit_and_exit_leave(word: str) -> None:
    assert asked(f"one\n{word}\ntwo\n") == [["one"]]


def test_blank_lines_are_not_said() -> None:
    assert asked("\n  \none\n\n") == [["one"]]


def test_windows_line_ends_are_not_said() -> None:
    assert asked("one\r\nquit\r\n") == [["one"]]


def test_the_end_of_the_input_leaves_also_in_the_middle_of_a_line() -> None:
    assert asked("") == []
    assert asked("one") == [["one"]]


def test_a_new_system_line_starts_a_new_talk() -> None:
    engine = FakeEngine()
    talk("one\nreset-system\nYou are Kitsu.\ntwo\ndefault-system\nthree\n", engine)
    assert [request.messages for request in engine.requests] == [
        (Message("user", "one"),),
        (Message("system", "You are Kitsu."), Message("user", "two")),
        (Message("user", "three"),),
    ]


def test_an_empty_system_line_leaves_it_to_the_template() -> None:
    assert asked("reset-system\n\none\n") == [["", "one"]]


def test_several_lines_end_with_a_hash() -> None:
    assert asked("multi-line\na\nb#\nsingle-line\nc\n")[0] == ["a\nb"]
    assert asked("multi-line\na\nb#\nsingle-line\nc\n")[1][-1] == "c"


def test_the_input_may_end_in_the_middle_of_several_lines() -> None:
    assert asked("multi-line\na\nb\n") == [["a\nb"]]


@pytest.mark.parametrize("word", ["quit", "Exit"])
def test_one_can_leave_from_several_lines(word: str) -> None:
    assert asked(f"multi-line\n{word}\none#\n") == []


def test_commands_work_between_several_lines_too() -> None:
    assert asked("multi-line\na#\nclear#\nb#\n") == [["a"], ["b"]]


def test_each_identity_has_a_history_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert asked("one\ntwo\n", "fox", "owl") == [
        ["one"],
        ["one"],
        ["one", "fox: one", "two"],
        ["one", "owl: one", "two"],
    ]
    assert capsys.readouterr().out.splitlines()[:4] == ["[fox]", "fox: one", "[owl]", "owl: one"]


def test_ctrl_c_stops_a_reply_and_keeps_what_was_said(capsys: pytest.CaptureFixture[str]) -> None:
    engine = Interrupted()
    talk("one\ntwo\n", engine)
    assert [message.content for message in engine.requests[1].messages] == ["one", "base: ", "two"]
    assert "[stopped]" in capsys.readouterr().err


def test_a_talk_that_no_longer_fits_says_so_and_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    engine = Full()
    talk("one\ntwo\n", engine)
    assert [len(request.messages) for request in engine.requests] == [1, 1]
    assert capsys.readouterr().err.count("the talk is too long; clear") == 2


def test_how_tokens_are_drawn_is_passed_on() -> None:
    engine = FakeEngine()
    talk("one\n", engine)
    assert engine.requests[0].sampling == Sampling(temperature=0)


def who_heard_what(text: str, *speakers: str | None) -> list[tuple[str | None, list[str]]]:
    engine = FakeEngine()
    assert talk(text, engine, *speakers) == 0
    return [
        (request.adapter, [message.content for message in request.messages])
        for request in engine.requests
    ]


def test_another_identity_goes_on_with_the_talk() -> None:
    heard = who_heard_what(
        "/adapter fox\none\n/adapter owl\ntwo\n/adapter base\nthree\n", "fox", "owl"
    )
    assert heard == [
        ("fox", ["one"]),
        ("owl", ["one", "fox: one", "two"]),
        (None, ["one", "fox: one", "two", "owl: two", "three"]),
    ]


def test_all_identities_can_be_asked_again_side_by_side() -> None:
    heard = who_heard_what("/adapter fox\none\n/adapter all\ntwo\n", "fox", "owl")
    assert heard[1:] == [
        ("fox", ["one", "fox: one", "two"]),
        ("owl", ["one", "fox: one", "two"]),
    ]


def test_a_name_that_is_not_there_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    heard = who_heard_what("/adapter hen\n/adapter\none\n", "fox")
    assert heard == [("fox", ["one"])]
    said = capsys.readouterr().err
    assert "no adapter is called 'hen'; there are: fox, base" in said


def test_the_system_line_can_change_in_the_middle_of_a_talk() -> None:
    heard = who_heard_what("one\n/system be brief\ntwo\n", "fox")
    assert heard[1] == ("fox", ["be brief", "one", "fox: one", "two"])


def test_what_only_looks_like_a_command_is_said() -> None:
    assert asked("/etc/hosts, what is it?\n") == [["/etc/hosts, what is it?"]]
