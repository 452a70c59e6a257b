"""Tiny folders of tokenizers in the forms of Hugging Face's classes, trained on sentences of our own."""

import io
import json
from pathlib import Path
from typing import Any

import sentencepiece

SENTENCES = [
    "The baker opens the little shop at six in the morning.",
    "Der Bäcker öffnet den kleinen Laden um sechs Uhr morgens.",
    "Seven grey geese fly over the quiet lake towards the south.",
    "Sieben graue Gänse fliegen über den stillen See nach Süden.",
    "My neighbour's bicycle has 21 gears and no bell!",
    "Das Fahrrad meines Nachbarn hat 21 Gänge und keine Klingel!",
    "How much does a kilo of plums cost at the market today?",
    "Wie viel kostet heute ein Kilo Pflaumen auf dem Markt?",
    "今天市场上的李子多少钱一公斤？",
    "邻居的自行车有二十一个档位，却没有铃铛。",
    'She wrote (in pencil): "back at 9:30, tea is on the table".',
    "Sie schrieb mit Bleistift: „zurück um 9:30, Tee steht auf dem Tisch“.",
]

TEXTS = [
    "",
    " ",
    "The baker",
    " The baker",
    "The baker ",
    "The  baker   opens",
    "  Two   blanks  at the ends  ",
    "a",
    "Z",
    "21",
    "1234567890",
    "9:30",
    "3.14 and 2,718",
    "geese, geese; geese!",
    "What?! (no)",
    "neighbour's",
    "„Tee“",
    "Gänse über Süden",
    "Straße",
    "naïve café",
    "今天",
    "市场上的李子",
    "今天 market 21",
    "邻居，铃铛。",
    "你好世界",
    "日本語のテキスト",
    "Привет, мир",
    "مرحبا",
    "שלום",
    "emoji 😀 here",
    "😀😀",
    "👩‍👧 family",
    "tab\there",
    "line\nbreak",
    "ends in newline\n",
    "non\u00a0breaking",
    "ideographic\u3000blank",
    "zero\u200bwidth",
    "e\u0301 combining",
    "ﬁne ligature",
    "①②③",
    "ＦＵＬＬ width",
    "½ cup",
    "<b>bold</b>",
    "[MASK] <tag> {x}",
    "__init__",
    "&amp; &lt;",
    "http://example.org/a?b=c#d",
    "x" * 300,
    "The baker opens the little shop. " * 20,
    "ALL CAPS AND lower",
    "under_score-hyphen—dash…",
    "\\backslash\\",
    "\u00ad soft",
    "٣٤ digits",
]


def trained(vocab_size: int = 160, **settings: Any) -> bytes:
    """Return a SentencePiece model of the sentences."""
    model = io.BytesIO()
    given = {"model_type": "unigram", "hard_vocab_limit": False, "minloglevel": 3, "num_threads": 1} | settings
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_writer=model, vocab_size=vocab_size, **given
    )
    return model.getvalue()


def pieces_of(model: bytes) -> list[str]:
    """Return how the pieces of a model are written."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    return [processor.id_to_piece(number) for number in range(processor.vocab_size())]


def write(folder: Path, files: dict[str, Any]) -> Path:
    """Write files of bytes, or of what JSON holds."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        (folder / name).write_bytes(data)
    return folder


def marian(folder: Path, separate: bool = False, model_type: str = "unigram") -> dict[str, Any]:
    """Write a Marian folder of two SentencePiece models and one vocabulary, or two; return config.json."""
    source, target = trained(130, model_type=model_type), trained(150, model_type=model_type)
    first, second = (pieces_of(model)[3:] for model in (source, target))
    # Some pieces of the source have no id, as those that training saw too rarely.
    first = first[: -len(first) // 8]
    codes = [">>deu<<", ">>zho<<"]

    def numbered(forms: list[str]) -> dict[str, int]:
        order = ["</s>", "<unk>", *codes, *dict.fromkeys(forms)]
        return {form: number for number, form in enumerate(order)}

    vocabulary = numbered(first if separate else first + second)
    padding = len(vocabulary)
    vocabulary["<pad>"] = padding
    files: dict[str, Any] = {"source.spm": source, "target.spm": target, "vocab.json": vocabulary}
    config = {"model_type": "marian", "vocab_size": padding + 1, "eos_token_id": 0, "pad_token_id": padding}
    if separate:
        # One id of padding serves both sides of such models.
        forms = list(numbered(second))
        forms.insert(padding, "<pad>")
        files["target_vocab.json"] = {form: number for number, form in enumerate(forms)}
        config["decoder_vocab_size"] = len(forms)
    files["tokenizer_config.json"] = {"tokenizer_class": "MarianTokenizer", "separate_vocabs": separate}
    write(folder, files)
    return config | {"decoder_start_token_id": padding}


_T5_IDS = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}


def t5(folder: Path) -> dict[str, Any]:
    """Write a T5 folder; the model has rows beyond the tokens, as the real ones."""
    model = trained(**_T5_IDS)
    write(folder, {"spiece.model": model, "tokenizer_config.json": {"tokenizer_class": "T5Tokenizer", "extra_ids": 10}})
    size = len(pieces_of(model)) + 10 + 6
    ids = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    return {"model_type": "t5", "vocab_size": size} | ids


def pegasus(folder: Path) -> dict[str, Any]:
    """Write a Pegasus folder."""
    model = trained(**_T5_IDS)
    write(folder, {"spiece.model": model, "tokenizer_config.json": {"tokenizer_class": "PegasusTokenizer"}})
    ids = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    return {"model_type": "pegasus", "vocab_size": len(pieces_of(model)) + 103} | ids


def mbart(folder: Path, languages: int = 25) -> dict[str, Any]:
    """Write a folder of mBART of 25 languages, or of mBART-50 with its 52 codes."""
    model = trained()
    name = {25: "MBartTokenizer", 52: "MBart50Tokenizer"}[languages]
    write(folder, {"sentencepiece.bpe.model": model, "tokenizer_config.json": {"tokenizer_class": name}})
    ids = {"pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
    return {"model_type": "mbart", "vocab_size": len(pieces_of(model)) + 1 + languages + 1} | ids


def m2m_100(folder: Path) -> dict[str, Any]:
    """Write an M2M-100 folder, a few pieces without an id."""
    model = trained()
    order = ["<s>", "<pad>", "</s>", "<unk>", *pieces_of(model)[3:-5]]
    vocabulary = {form: number for number, form in enumerate(order)}
    settings = {"tokenizer_class": "M2M100Tokenizer", "language_codes": "m2m100"}
    write(folder, {"sentencepiece.bpe.model": model, "vocab.json": vocabulary, "tokenizer_config.json": settings})
    ids = {"pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
    return {"model_type": "m2m_100", "vocab_size": len(vocabulary) + 100 + 8} | ids


def bart(folder: Path) -> dict[str, Any]:
    """Write a BART folder, its byte pairs learned by the library that Hugging Face uses."""
    from tokenizers import ByteLevelBPETokenizer

    learned = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    learned.train_from_iterator(SENTENCES, vocab_size=400, special_tokens=[*special, "<mask>"], show_progress=False)
    folder.mkdir(parents=True, exist_ok=True)
    learned.save_model(str(folder))
    write(folder, {"tokenizer_config.json": {"tokenizer_class": "BartTokenizer"}})
    ids = {"pad_token_id": 1, "eos_token_id": 2, "bos_token_id": 0, "decoder_start_token_id": 2}
    return {"model_type": "bart", "vocab_size": learned.get_vocab_size(), "forced_bos_token_id": 0} | ids
