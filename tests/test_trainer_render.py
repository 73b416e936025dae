"""What is trained, token by token: the answer and its end token, whatever the base's tokenizer lacks."""

import pytest
from trainer_fixtures import CHATML, make_tokenizer

from trainer import UserError
from trainer.dataset import IGNORED, Example, Renderer, check_left, leave_out_long

pytestmark = pytest.mark.filterwarnings("ignore")

ASKED = [{"role": "user", "content": "What is 2 plus 2?"}, {"role": "assistant", "content": "It is 4."}]
WITH_SYSTEM = [{"role": "system", "content": "Count."}, *ASKED]


def trained_text(renderer, messages):
    rendered = renderer.render(Example(messages, "line 1"))
    return renderer.tokenizer.decode([label for label in rendered.labels if label != IGNORED])


def read_text(renderer, messages):
    return renderer.tokenizer.decode(renderer.render(Example(messages, "line 1")).input_ids)


def test_system_history_and_question_are_read_and_only_the_last_answer_is_trained():
    renderer = Renderer(make_tokenizer())
    messages = [*WITH_SYSTEM, {"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "Yes."}]
    assert trained_text(renderer, messages) == "Yes.<|im_end|>"
    assert read_text(renderer, messages) == (
        "<|im_start|>system\nCount.<|im_end|>\n<|im_start|>user\nWhat is 2 plus 2?<|im_end|>\n"
        "<|im_start|>assistant\nIt is 4.<|im_end|>\n<|im_start|>user\nSure?<|im_end|>\n"
        "<|im_start|>assistant\nYes.<|im_end|>"
    )


def test_each_label_is_its_id_or_ignored_and_the_prompt_is_what_is_asked_later():
    renderer = Renderer(make_tokenizer())
    rendered = renderer.render(Example(ASKED, "line 1"))
    prompt = renderer.prompt_ids(ASKED[:-1])
    assert rendered.input_ids[: len(prompt)] == prompt
    assert rendered.labels[: len(prompt)] == [IGNORED] * len(prompt)
    assert rendered.labels[len(prompt) :] == rendered.input_ids[len(prompt) :]


def test_the_end_token_is_trained_where_it_is_the_pad_token_too():
    # Masking by the id of the pad token used to leave the end untrained, and models that never stop.
    renderer = Renderer(make_tokenizer(pad_token="<|im_end|>"))
    assert trained_text(renderer, ASKED) == "It is 4.<|im_end|>"


def test_a_base_without_a_template_is_given_a_plain_one_with_its_own_end_token():
    renderer = Renderer(make_tokenizer(chat_template=None))
    assert read_text(renderer, WITH_SYSTEM) == (
        "Count.\n\n### Question:\nWhat is 2 plus 2?\n\n### Answer:\nIt is 4.<|im_end|>"
    )
    assert trained_text(renderer, WITH_SYSTEM) == "It is 4.<|im_end|>"
    assert "no chat template" in renderer.notes[0]


REFUSING = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML
DROPPING = CHATML.replace("{{ '<|im_start|>' + m", "{% if m['role'] != 'system' %}{{ '<|im_start|>' + m").replace(
    "}}{% endfor %}", "}}{% endif %}{% endfor %}"
)


@pytest.mark.parametrize("template", [REFUSING, DROPPING])
def test_a_template_without_system_role_gets_the_system_message_in_the_question(template):
    renderer = Renderer(make_tokenizer(chat_template=template))
    assert "<|im_start|>user\nCount.\n\nWhat is 2 plus 2?" in read_text(renderer, WITH_SYSTEM)
    assert renderer.notes == [
        "The chat template of the base has no system role: system messages open the first question."
    ]


def test_a_template_that_opens_answers_with_a_thought_keeps_it_before_the_answer():
    thinking = CHATML.replace("m['content']", "('<t></t>' if m['role'] == 'assistant' else '') + m['content']")
    assert trained_text(Renderer(make_tokenizer(chat_template=thinking)), ASKED) == "<t></t>It is 4.<|im_end|>"


def test_an_answer_that_begins_with_the_thought_the_prompt_has_opened_goes_on_from_there():
    """The prompt ends with <think>, as of models distilled from DeepSeek-R1; the answer began with another."""
    opening = CHATML.replace("assistant\n'", "assistant\n<think>\n'").replace(
        "m['content'] +", "m['content'].split('</think>')[-1] +"
    )
    thought = {"role": "assistant", "content": "<think>\nTwo more than 2.\n</think>\n\nIt is 4."}
    renderer = Renderer(make_tokenizer(chat_template=opening))
    trained = trained_text(renderer, [ASKED[0], thought])
    assert trained == "Two more than 2.\n</think>\n\nIt is 4.<|im_end|>"


def test_an_answer_that_is_part_of_the_end_token_is_still_found():
    messages = [ASKED[0], {"role": "assistant", "content": "im"}]
    assert trained_text(Renderer(make_tokenizer()), messages) == "im<|im_end|>"


def test_a_template_that_refuses_a_line_is_reported_with_the_line():
    picky = "{% if messages | length > 2 %}{{ raise_exception('one turn only') }}{% endif %}" + CHATML
    renderer = Renderer(make_tokenizer(chat_template=picky))
    with pytest.raises(UserError, match="train.jsonl line 7 is refused by the chat template .* one turn only"):
        renderer.render(Example([*ASKED, *ASKED], "train.jsonl line 7"))


def test_lines_that_are_too_long_are_named_and_left_out_whole():
    renderer = Renderer(make_tokenizer())
    long = [ASKED[0], {"role": "assistant", "content": "It is 4. " * 50}]
    rendered, *_ = renderer.render_all([Example(ASKED, "line 1"), Example(long, "line 2")])
    kept, left_out = leave_out_long(rendered, 64)
    assert [each.example.place for each in kept] == ["line 1"]
    assert left_out == [f"line 2 has {len(rendered[1].input_ids)} tokens, more than 64"]
    with pytest.raises(UserError, match="No line is left to train on: line 1 has .* more than 8"):
        leave_out_long(rendered, 8)


def test_a_line_with_a_control_token_in_its_text_is_named_and_left_out():
    chat = [{"role": "user", "content": "Hi<|im_end|>"}, ASKED[1]]
    _, forged, _ = Renderer(make_tokenizer()).render_all([Example(chat, "line 1")])
    assert forged == ["line 1 holds <|im_end|>, a control token of the base"]


def test_a_base_without_an_end_token_is_refused():
    with pytest.raises(UserError, match="no end token"):
        Renderer(make_tokenizer(eos_token=None, chat_template=None))


def test_lines_that_the_template_refuses_are_all_named_and_left_out():
    """The first such line ended a plan and a run, so that a thousand were found one at a time."""
    picky = "{% if messages | length > 2 %}{{ raise_exception('one turn only') }}{% endif %}" + CHATML
    lines = [Example(chat, f"line {number}") for number, chat in enumerate([[*ASKED, *ASKED], ASKED, [*ASKED, *ASKED]])]
    rendered, _, refused = Renderer(make_tokenizer(chat_template=picky)).render_all(lines)
    assert [line.example.place for line in rendered] == ["line 1"]
    assert refused == [f"line {number} is refused by the template: one turn only" for number in (0, 2)]


def test_where_no_line_to_train_on_is_left_the_reason_is_said():
    forged = Example([{"role": "user", "content": "Hi<|im_end|>"}, ASKED[1]], "line 1")
    lines, forged, _ = Renderer(make_tokenizer()).render_all([forged, Example(ASKED, "line 2", "test")])
    with pytest.raises(UserError, match=r"No line is left to train on: line 1 holds <\|im_end\|>"):
        check_left(lines, forged)


def test_a_system_message_before_a_greeting_goes_into_the_question_and_not_into_the_greeting():
    """The greeting of the assistant became the user's words."""
    greeting = {"role": "assistant", "content": "Hello!"}
    read = read_text(Renderer(make_tokenizer(chat_template=DROPPING)), [WITH_SYSTEM[0], greeting, *ASKED])
    assert "assistant\nHello!<|im_end|>\n<|im_start|>user\nCount.\n\nWhat is 2 plus 2?" in read


def test_an_answer_is_stripped_as_the_template_strips_it_where_prompt_and_whole_differ():
    """Mistral's template has the system message in the last question of a prompt alone; the spaces stayed there."""
    last = (
        "{% set rule = messages[0]['content'] if messages[0]['role'] == 'system' else '' %}"
        "{% for m in messages %}{% if m['role'] == 'user' %}"
        "{{ '[INST]' + (rule if loop.last else '') + m['content'] + '[/INST]' }}"
        "{% elif m['role'] == 'assistant' %}{{ m['content'] | trim + eos_token }}{% endif %}{% endfor %}"
    )
    renderer = Renderer(make_tokenizer(chat_template=last))
    padded = {"role": "assistant", "content": "  It is 4. \n"}
    assert read_text(renderer, [*WITH_SYSTEM[:2], padded]) == "[INST]Count.What is 2 plus 2?[/INST]It is 4.<|im_end|>"


def test_an_answer_that_a_token_joins_to_the_line_end_before_it_gets_no_space_of_its_own():
    """Where a tokenizer has pieces over a line end, the answer was trained with a space that nobody had written."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = [(each, -3.0) for each in dict.fromkeys("\u2581### Question:\nWhat is 2 plus 2? Answer: It is 4.")]
    backend = Tokenizer(models.Unigram([("<unk>", 0.0), *pieces, ("\nIt", -1.0), ("\u2581It", -1.0)], unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    backend.decoder = decoders.Metaspace(prepend_scheme="first", split=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>")
    assert read_text(Renderer(tokenizer), ASKED).endswith("### Answer:\nIt is 4.</s>")
