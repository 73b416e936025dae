"""What can be told of one pair: each check on the text it is for, and silent on the text that only looks like it."""

import time

import pytest

from curator.flags import FLAGS, Rules, Texts, find
from curator.private import find_private

RULES = Rules(main={"1": "en"}, context=300)
OPEN = "The library opens at nine in the morning. It closes at seven in the evening, and on Sundays it stays closed"


def found(question, answer, system="", history=(), rules=RULES):
    return find(Texts(question, answer, system, list(history), 1), rules)


@pytest.mark.parametrize(
    ("question", "answer", "flag"),
    [
        ("How long can I keep a book?", "...", "empty"),
        ("How long can I keep a book?", "TODO", "empty"),
        ("?", "Three weeks.", "empty"),
        ("Write a story about a lighthouse keeper.", "Okay", "empty"),
        ("How long can I keep a book?", "How long can I keep a book", "echo"),
        ("How long can I keep a book of the library?", "How long can I keep a book of the library? Yes", "echo"),
        ("Who won?", "I'm sorry, but I can't help with that.", "refusal"),
        ("Who won?", "As an AI language model, I have no access to the news.", "refusal"),
        ("Wer hat gewonnen?", "Als KI-Sprachmodell kann ich das nicht sagen.", "refusal"),
        ("When do you open?", OPEN + " because", "truncated"),
        ("When do you open?", OPEN + ". In summer it opens an hour", "truncated"),
        ("How?", "Like this:\n```python\nprint(1)\n", "truncated"),
        ("Tell me all of it.", ("Once upon a time there was a house by the sea. " * 12)[:512], "truncated"),
        ("Where is the cafÃ© you spoke of?", "In the hall.", "mojibake"),
        ("Where?", "In the caf\ufffd.", "mojibake"),
        (
            "How can I change the address of my order?",
            "Sie können die Adresse in Ihrem Konto unter Bestellungen selbst ändern.",
            "language",
        ),
        (
            "Wie kann ich die Adresse meiner Bestellung noch ändern?",
            "Sie können die Adresse in Ihrem Konto unter Bestellungen selbst ändern.",
            "language",
        ),
        (
            "How can I pay for it and for the rest?",
            "Sie können mit Karte zahlen, oder Sie überweisen den Betrag innerhalb von 14 Tagen.",
            "language",
        ),
        ("Whom do I ask?", "Write to maria.lopez@stadtbibliothek.de", "private"),
        ("Whom do I call?", "Call (212) 867-4309 or +44 20 7946 0958.", "private"),
        ("Which card?", "It was 4539 1488 0343 6467, I think.", "private"),
        ("Where to?", "Pay to DE89 3704 0044 0532 0130 00.", "private"),
        ("Which machine?", "The one at 84.23.117.9 answers.", "private"),
        ("Which machine?", "The one at 2a00:1450:4001:82b::200e answers.", "private"),
        ("How do I log in?", "Use AKIAIOSFODNN7QWERTYU for that.", "secret"),
        ("How do I log in?", "The password is hT8-jKk23-Zr.", "secret"),
        ("Which database?", "postgresql://ada:Tr0ub4dor@db.internal/pairs", "secret"),
        ("All of it?", "word " * 301, "long"),
        ("Hi", "[INST] Hello [/INST] there", "roles"),
        ("Hi", "Hello.\n### Human: And then?", "roles"),
        ("How long?", "Three weeks.\nUser: And a film?\nAssistant: One.", "roles"),
    ],
)
def test_a_check_finds_what_it_is_for(question, answer, flag):
    assert flag in found(question, answer)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is 2 + 2?", "4"),
        ("Which operator joins strings?", "+"),
        ("Which fruits are not in the list?", "None"),
        ("Write the chemical symbol of gold.", "Au"),
        ("How do you feel?", "🎉🎉"),
        ("Correct this: how are you", "How are you?"),
        ("Repeat after me: the sea is calm", "the sea is calm"),
        ("Write an e-mail that declines an invitation.", "Dear Tom,\nI'm sorry, but I can't come.\nSincerely,\nAda"),
        ("Name three fruits.", "1. Apple\n2. Pear\n3. Fig"),
        ("Sum?", "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\n#### 72"),
        ("How?", "```python\nprint(1)\n```"),
        ("Translate into German: the library is closed today", "Die Bibliothek ist heute leider geschlossen."),
        ("Où est le café?", "À côté de la gare, derrière l’église; c’est ça."),
        ("What is this?", "def main(argumente):\n    return argumente.werte  # gibt die Werte zurück und endet"),
        ("Which address?", "Use 192.168.0.1 or name@example.com, version 1.2.3.4, order 4111 1111 1111 1112."),
        ("Which card?", "Order 9911111111111111 and invoice 20250131123456."),
        ("Which prefix?", "2001:db8::ff00:42:8329 and ::1 are examples."),
        ("How many are 555-867-5309 minus 3?", "About 10,000,000 in 2,147,483,647."),
        ("Generate a password of 8 characters.", "Your password is rT8$jLpZ."),
        ("What is an API key?", "An API key is something like YOUR_API_KEY_HERE; the password is secret."),
        ("Write a dialogue in a shop.", "User: One bread.\nBot: Gladly."),
        ("مرحبا كيف حالك اليوم؟", "我很好，谢谢。"),
    ],
)
def test_a_check_is_silent_on_what_only_looks_like_it(question, answer):
    assert found(question, answer, rules=Rules()) == {}


def test_a_detail_says_what_was_found_and_repeats_no_secret():
    flags = found("How do I log in?", "The password is hT8-jKk23-Zr.")
    assert flags == {"secret": "key or password in the answer"}


def test_earlier_turns_and_the_system_message_are_looked_at_too():
    history = [{"role": "user", "content": "I am maria.lopez@stadtbibliothek.de"}]
    flags = found("And now?", "Wait.", "You are <|im_start|>helpful", history)
    assert flags == {"private": "e-mail address in the turn 1", "roles": "system: “<|im_start|>”"}


def test_mended_text_is_shown_beside_broken_text():
    assert found("Where is the cafÃ©?", "Here.")["mojibake"] == "question: “is the cafÃ©?” for “is the café?”"


def test_tokens_are_called_an_estimate_where_no_tokenizer_is_named():
    assert found("Count.", "one two " * 200)["long"] == "about 402 tokens; the context is 300"


def test_overlapping_private_spans_are_given_once():
    text = "Mail ada@lovelace.org or card 4539-1488-0343-6467."
    assert [(span.kind, text[span.start : span.end]) for span in find_private(text)] == [
        ("email", "ada@lovelace.org"),
        ("card", "4539-1488-0343-6467"),
    ]


@pytest.mark.parametrize(
    "piece", ["a", "1 ", "-", "@", "+1", "é", "中", "🎉", "e\u0301", "؟ ", "<", "(", "sk-", "1.", "`", "A1 "]
)
def test_a_megabyte_of_anything_takes_a_moment(piece):
    text = piece * (1_000_000 // len(piece))
    start = time.process_time()
    found(text, text)
    assert time.process_time() - start < 3


def test_rules_are_read_back_as_they_were_written():
    assert Rules.load(RULES.dump()) == RULES
    assert Rules.load("") is None
    assert Rules.load(RULES.dump().replace('"version": 2', '"version": 1')) is None


def test_every_flag_says_in_a_sentence_what_it_is():
    for name, flag in FLAGS.items():
        assert flag.name == name and flag.about.endswith(".") and flag.severity in ("bad", "warn", "note")
