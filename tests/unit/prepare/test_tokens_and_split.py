"""Rendering and tokenising prompts, and holding some out."""

import pytest

from components.contract.config import DataSection
from components.contract.errors import InputError
from components.prepare.prompt_tables import hold_out
from components.prepare.prompts import Prompt
from components.prepare.tokens import RenderedPrompt, Renderer

USER = ({"role": "user", "content": "hi"},)


def prompt(content, number=1):
    return Prompt(number, f"p{number}", content, None, "{}")


def rendered(tokenizer, content, longest=100, **data):
    prompts, bad = Renderer(tokenizer, DataSection(train="x", **data), longest).render([prompt(content)])
    assert bad == []
    return prompts[0]


def test_text_is_tokenised_as_the_tokenizer_does_by_default(tokenizer):
    result = rendered(tokenizer, "hi")
    assert result.text == "hi"
    assert result.token_ids == tokenizer("hi").input_ids
    assert result.token_ids[0] == tokenizer.bos_token_id


def test_a_template_is_applied_where_there_is_one(chat_tokenizer):
    for content in ("hi", USER):
        result = rendered(chat_tokenizer, content)
        assert result.text == "[user]hi[assistant]"
        assert result.token_ids == chat_tokenizer("[user]hi[assistant]", add_special_tokens=False).input_ids
        assert chat_tokenizer.bos_token_id not in result.token_ids


def test_a_template_that_writes_bos_gives_one_bos(chat_tokenizer):
    chat_tokenizer.chat_template = "<bos>" + chat_tokenizer.chat_template
    assert rendered(chat_tokenizer, "hi").token_ids.count(chat_tokenizer.bos_token_id) == 1


def test_never_leaves_the_template_out(chat_tokenizer):
    assert rendered(chat_tokenizer, "hi", chat="never").text == "hi"
    two = ({"role": "system", "content": "be brief"}, *USER)
    assert rendered(chat_tokenizer, two, chat="never").text == "be brief\n\nhi"


def test_always_needs_a_template(tokenizer):
    with pytest.raises(InputError, match="has no chat template"):
        rendered(tokenizer, "hi", chat="always")


def test_the_system_prompt_goes_before_plain_prompts_only(tokenizer, chat_tokenizer):
    assert rendered(chat_tokenizer, "hi", system_prompt="brief").text == "[system]brief[user]hi[assistant]"
    assert rendered(chat_tokenizer, USER, system_prompt="brief").text == "[user]hi[assistant]"
    assert rendered(tokenizer, "hi", system_prompt="brief").text == "brief\n\nhi"


def test_prompts_that_cannot_be_given_to_the_model(chat_tokenizer):
    prompts = [prompt("hi", 1), prompt("x" * 90, 2), prompt(({"role": "tool", "content": "hi"},), 3)]
    kept, bad = Renderer(chat_tokenizer, DataSection(train="x"), 40).render(prompts)
    assert [p.source.number for p in kept] == [1]
    assert [row.number for row in bad] == [2, 3]
    assert "prompt has 107 tokens" in bad[0].reason
    assert "leaves 40" in bad[0].reason
    assert "no tools here" in bad[1].reason


def numbered(*texts):
    return [RenderedPrompt(prompt(text, i), text, [1]) for i, text in enumerate(texts)]


def names(prompts):
    return [p.text for p in prompts]


def test_split_is_seeded_and_disjoint():
    train = numbered(*(f"t{i}" for i in range(50)))
    kept, held_out = hold_out(train, None, 10, seed=1)
    assert (len(kept), len(held_out)) == (40, 10)
    assert sorted(names(kept) + names(held_out)) == sorted(names(train))
    assert names(hold_out(train[::-1], None, 10, seed=1)[1][::-1]) == names(held_out)
    assert names(hold_out(train, None, 10, seed=2)[1]) != names(held_out)


def test_held_out_text_is_trained_on_nowhere():
    kept, held_out = hold_out(numbered("a", "b", "a", "c"), numbered("a", "a", "x"), 2, seed=0)
    assert (names(kept), names(held_out)) == (["b", "c"], ["a", "x"])
    for seed in range(20):
        kept, held_out = hold_out(numbered("a", "a", "b", "b"), None, 1, seed)
        assert set(names(kept)).isdisjoint(names(held_out))
        assert len(held_out) == 1


def test_no_held_out_prompts():
    assert hold_out(numbered("a"), None, 0, seed=0)[1] == []


@pytest.mark.parametrize(
    ("held_out", "count", "message"),
    [
        (None, 4, "data.eval_prompts is 4, but data.train has only 3 distinct"),
        (None, 3, "no prompt is left"),
        (("x",), 2, "data.eval_prompts is 2, but data.eval has only 1 distinct"),
        (("a", "b", "c"), 3, "no prompt is left"),
    ],
)
def test_too_few_prompts(held_out, count, message):
    with pytest.raises(InputError, match=message):
        hold_out(numbered("a", "b", "c"), None if held_out is None else numbered(*held_out), count, seed=0)


def test_a_token_without_an_embedding_costs_the_prompts_that_have_it(tokenizer):
    highest = tokenizer("z").input_ids[-1]
    prompts = [prompt("a{b", 1), prompt("a", 2), prompt("az", 3)]
    kept, bad = Renderer(tokenizer, DataSection(train="x"), 100, highest).render(prompts)
    assert [p.source.number for p in kept] == [2]
    assert [(row.number, row.reason) for row in bad] == [
        (1, f"prompt has the token {{ ({highest + 1}), and the model has embeddings for {highest} only"),
        (3, f"prompt has the token z ({highest}), and the model has embeddings for {highest} only"),
    ]


def appending(tokenizer, template):
    from copy import deepcopy

    from tokenizers import processors

    changed = deepcopy(tokenizer)
    changed.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("<bos>", 1), ("<eos>", 2), ("<unk>", 0)]
    )
    return changed


@pytest.mark.parametrize(
    ("template", "before", "appended"),
    [
        ("<bos> $A <eos>", [1], "<eos>"),
        ("$A <eos>", [], "<eos>"),
        ("<bos> $A <unk> <eos>", [1], "<unk> <eos>"),
        ("<bos> <unk> $A", [1, 0], None),
    ],
)
def test_an_end_behind_the_prompt_is_left_out(tokenizer, template, before, appended):
    renderer = Renderer(appending(tokenizer, template), DataSection(train="x"), 100)
    (first, second), bad = renderer.render([prompt("1", 1), prompt("1+1=", 2)])
    assert bad == []
    assert first.token_ids == [*before, *tokenizer("1", add_special_tokens=False).input_ids]
    assert second.token_ids == [*before, *tokenizer("1+1=", add_special_tokens=False).input_ids]
    expected = [f"the tokenizer appends {appended} to every text; it is left out of the prompts"] if appended else []
    assert renderer.remarks == expected


def test_a_template_appends_nothing(chat_tokenizer):
    renderer = Renderer(appending(chat_tokenizer, "<bos> $A <eos>"), DataSection(train="x"), 100)
    ((result,), _) = renderer.render([prompt("hi")])
    assert result.text == "[user]hi[assistant]"
    assert result.token_ids == chat_tokenizer("[user]hi[assistant]", add_special_tokens=False).input_ids
    assert renderer.remarks == []


LLAMA = (
    "{% if not date_string is defined %}{% if strftime_now is defined %}"
    "{% set date_string = strftime_now('%d %b %Y') %}{% else %}{% set date_string = '26 Jul 2024' %}"
    "{% endif %}{% endif %}Today Date: {{ date_string }}\n{% for m in messages %}{{ m.content }}{% endfor %}"
)


@pytest.mark.parametrize("template", [LLAMA, "{{ strftime_now('%d %b %Y') }}{{ messages[-1].content }}"])
def test_the_date_is_that_of_the_run(chat_tokenizer, template):
    chat_tokenizer.chat_template = template
    renderer = Renderer(chat_tokenizer, DataSection(train="x", today="2031-02-03"), 100)
    ((result,), _) = renderer.render([prompt("hi")])
    assert "03 Feb 2031" in result.text
    assert renderer.writes_date
    assert renderer.remarks == ["the chat template writes the date into every prompt: 2031-02-03, set by data.today"]
    assert "01 Jan 1970" in renderer.undated_text(prompt("hi"))


def test_what_is_held_out_depends_on_the_question_and_not_on_the_day():
    def night(day):
        sources = [prompt(f"q{i}", i) for i in range(50)]
        return [RenderedPrompt(p, f"{day} {p.content}", [1]) for p in sources]

    chosen = [[p.source.content for p in hold_out(night(day), None, 10, seed=1)[1]] for day in ("Monday", "Tuesday")]
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == 10
    message = [RenderedPrompt(prompt(({"role": "user", "content": "q1"},)), "other", [1])]
    assert [p.source.number for p in hold_out(night("Monday"), message, 1, seed=1)[0]] == [0, *range(2, 50)]
