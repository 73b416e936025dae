"""Labels on six families of tokenizers, token for token as someone else would find them: by the offsets of a text."""

import jinja2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment
from trainer_bases import FAMILIES

from trainer import tokenizer
from trainer.dataset import IGNORED, Example, Renderer
from trainer.dataset.rendering import PLAIN_TEMPLATE

pytestmark = pytest.mark.filterwarnings("ignore")

QUESTION = {"role": "user", "content": "How long can I keep a book?"}
ANSWER = {"role": "assistant", "content": "Three weeks. After that: 20 cents a day 📚."}
CHATS = {
    "one turn": [QUESTION, ANSWER],
    "system": [{"role": "system", "content": "Answer in one line."}, QUESTION, ANSWER],
    "two turns": [QUESTION, ANSWER, {"role": "user", "content": "Wo liegt Köln?\nUnd wie weit?"}, ANSWER],
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    """The folder of a base, its renderer here, and its tokenizer as transformers makes it."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("bases") / request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CURATOR_HOME", str(folder.parent))
        FAMILIES[request.param](folder)
        return Renderer(tokenizer.load(folder)), AutoTokenizer.from_pretrained(folder)


def write(template, names, messages, *, prompt):
    """Render as the documents of transformers say it, with nothing of the trainer."""

    def raise_exception(message):
        raise jinja2.TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = raise_exception
    return environment.from_string(template).render(messages=messages, add_generation_prompt=prompt, **names)


def by_offsets(theirs, messages, end):
    """Return ids and labels of a chat by the offsets of its text, or None where a token reaches over the boundary."""
    template = theirs.chat_template or PLAIN_TEMPLATE
    try:
        prompt = write(template, theirs.special_tokens_map, messages[:-1], prompt=True)
    except jinja2.TemplateError:  # no system role: the rule opens the question
        folded = {"role": "user", "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
        return by_offsets(theirs, [folded, *messages[2:]], end)
    whole = write(template, theirs.special_tokens_map, messages, prompt=False)
    assert whole.startswith(prompt)
    encoded = theirs(whole, add_special_tokens=False, return_offsets_mapping=True)
    ids, labels = [], []
    for id, (start, stop) in zip(encoded.input_ids, encoded.offset_mapping, strict=True):
        if start < len(prompt) < stop:
            return None
        ids.append(id)
        labels.append(id if start >= len(prompt) else IGNORED)
        if start >= len(prompt) and id == end:
            return ids, labels
    raise AssertionError("the end token is missing")


@pytest.mark.parametrize("chat", CHATS.values(), ids=CHATS)
def test_labels_are_those_found_by_the_offsets_of_the_text(family, chat):
    ours, theirs = family
    rendered = ours.render(Example(chat, "line 1"))
    assert (rendered.input_ids, rendered.labels) == by_offsets(theirs, chat, ours.end_token)


def test_ids_and_named_tokens_are_those_of_transformers(family):
    ours, theirs = family
    text = "  Wo ist Köln?\n\n\tTwo + 2\u00a0= 4 📚\u202e"
    assert ours.ids(text) == theirs(text, add_special_tokens=False).input_ids
    assert ours.tokenizer.special_tokens_map == theirs.special_tokens_map
    assert (ours.tokenizer.eos_token_id, ours.tokenizer.bos_token_id) == (theirs.eos_token_id, theirs.bos_token_id)
    assert len(ours.tokenizer) == len(theirs)


def test_transformers_tokenizer_itself_is_rendered_the_same(family):
    ours, theirs = family
    example = Example(CHATS["two turns"], "line 1")
    assert Renderer(theirs).render(example) == ours.render(example)


STRANGE = st.sampled_from("  \n\t<>|[]\u2581\u00e9\u05e9\u05dc\u202e\u200d\x00\x1b\U0001f469\U0001f4da")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | STRANGE, min_size=1).filter(str.strip)
ODD = st.sampled_from(["<|im_end", "im_end|>", "</s", "[/INST]", "### Answer:\n", "<0x0A>", "##s", " x", "\nx", "x "])


@given(question=TEXTS | ODD, answer=TEXTS | ODD)
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_texts_the_prompt_is_what_is_asked_and_the_rest_is_trained_to_its_end(family, question, answer):
    ours, theirs = family
    chat = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    if ours.control_token(Example(chat, "line 1")):
        return  # such lines are left out
    rendered = ours.render(Example(chat, "line 1"))
    prompt = ours.prompt_ids(chat[:-1])
    assert rendered.input_ids[: len(prompt)] == prompt
    assert rendered.labels == [IGNORED] * len(prompt) + rendered.input_ids[len(prompt) :]
    assert rendered.labels[-1] == ours.end_token and rendered.labels.count(ours.end_token) == 1
    expected = by_offsets(theirs, chat, ours.end_token)
    if expected and expected[1].count(IGNORED) == len(prompt):
        assert (rendered.input_ids, rendered.labels) == expected
