import io
import random
import sys

import pytest
import sentencepiece

from mtk.data.translation.vocabulary import END, Vocabulary, train_vocabulary

ENGLISH = ["the house is small", "a small house, and a large one", "the number is 1234"] * 20
FRENCH = ["la maison est petite", "une petite maison et une grande", "le numéro est 1234"] * 20
CHINESE = ["房子很小，很小", "一座小房子和一座大房子", "号码是1234"] * 20
TEXTS = {"en": ENGLISH, "fr": FRENCH, "zh": CHINESE}


@pytest.fixture(scope="module")
def vocabulary():
    return train_vocabulary(TEXTS, 400)


def test_special_ids_come_first_then_languages(vocabulary):
    pieces = sentencepiece.SentencePieceProcessor(model_proto=vocabulary.proto)
    first = ["<pad>", "<start>", "<end>", "<unknown>", "<2fr>", "<2zh>"]
    assert [pieces.id_to_piece(i) for i in range(6)] == first
    assert [pieces.pad_id(), pieces.bos_id(), pieces.eos_id(), pieces.unk_id()] == [0, 1, 2, 3]
    assert vocabulary.languages == ("fr", "zh")
    assert [vocabulary.language_id(name) for name in vocabulary.languages] == [4, 5]
    assert len(vocabulary) == pieces.get_piece_size()


def strings():
    """Yields texts of characters of the training text, and of arbitrary characters."""
    generator = random.Random(0)
    known = "".join({*"".join(ENGLISH + FRENCH + CHINESE)})
    anything = [chr(code) for code in (*range(33, 127), *range(161, 0xD7FF, 97), 0x1D11E, 0x1F600)]
    for letters in (known, anything):
        for _ in range(200):
            yield "".join(generator.choices(letters, k=generator.randint(1, 30)))


def test_texts_round_trip_except_for_repeated_spaces(vocabulary):
    texts = list(strings())
    for text, ids in zip(texts, vocabulary.encode_all(texts), strict=True):
        assert vocabulary.decode(ids) == " ".join(part for part in text.split(" ") if part)
        assert vocabulary.encode(text) == ids
        assert all(5 < token < len(vocabulary) for token in ids)  # No special id.


@pytest.mark.parametrize("text", ["<pad>", "<2fr> a house", "a <end> b", "<start><unknown>"])
def test_names_of_special_tokens_are_encoded_as_text(vocabulary, text):
    ids = vocabulary.encode(text)
    assert min(ids) > 5
    assert vocabulary.decode(ids) == text


def test_full_width_punctuation_is_kept(vocabulary):
    assert vocabulary.decode(vocabulary.encode("小，大。！")) == "小，大。！"


def test_numbers_are_split_into_digits(vocabulary):
    assert len(vocabulary.encode("1234")) == 5  # A space and four digits.


def test_decode_stops_at_end_and_skips_special_ids(vocabulary):
    house, number = vocabulary.encode("house"), vocabulary.encode("1234")
    assert vocabulary.decode([1, 4, *house, 0, 3, END, *number]) == "house"
    assert vocabulary.decode([END]) == vocabulary.decode([]) == vocabulary.decode([0, 1, 5]) == ""


def test_the_same_text_gives_the_same_vocabulary(vocabulary):
    assert train_vocabulary(TEXTS, 400).proto == vocabulary.proto


def test_save_and_load_round_trip(vocabulary, tmp_path):
    vocabulary.save(tmp_path / "vocabulary.model")
    loaded = Vocabulary.load(tmp_path / "vocabulary.model")
    assert loaded.proto == vocabulary.proto
    assert loaded.encode("a house") == vocabulary.encode("a house")
    assert [path.name for path in tmp_path.iterdir()] == ["vocabulary.model"]


def test_small_texts_give_a_smaller_vocabulary():
    assert 300 < len(train_vocabulary(TEXTS, 64_000)) < 1_000


def test_vocabulary_without_target_languages():
    assert train_vocabulary({"en": ENGLISH}, 400).languages == ()


def test_unknown_language_raises(vocabulary):
    with pytest.raises(ValueError, match="Unknown target language 'ro'.* fr, zh"):
        vocabulary.language_id("ro")


def test_too_small_vocabulary_raises():
    with pytest.raises(ValueError, match=r"vocabulary of 200 is too small: .* already need \d+"):
        train_vocabulary(TEXTS, 200)


@pytest.mark.parametrize("texts", [{"en": []}, {"en": [""], "fr": [""]}])
def test_empty_text_raises(texts):
    with pytest.raises(ValueError, match="no text"):
        train_vocabulary(texts, 400)


def test_damaged_file_raises(tmp_path):
    path = tmp_path / "vocabulary.model"
    path.write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"vocabulary\.model: This is not a SentencePiece model"):
        Vocabulary.load(path)


def test_model_with_other_special_tokens_raises():
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(ENGLISH),
        model_writer=model,
        vocab_size=100,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    with pytest.raises(ValueError, match="must start with <pad>, .*Received .*<unk>, <s>"):
        Vocabulary(model.getvalue())


def test_missing_sentencepiece_raises(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(ImportError, match=r"pip install -e '.*\[translation\]'"):
        train_vocabulary(TEXTS, 400)
