"""Decode with CTranslate2, whose own workers share one copy of the weights."""

import unicodedata
from pathlib import Path

from common import Job, Translate, decode, read_job, say_versions


def load(job: Job) -> Translate:
    """Return what translates lines; its batches are of like lengths by themselves."""
    import ctranslate2
    import sentencepiece

    pieces = sentencepiece.SentencePieceProcessor(model_file=str(Path(job["model"]) / "pieces.model"))
    translator = ctranslate2.Translator(
        job["model"],
        device="cpu",
        compute_type=job["compute_type"],
        inter_threads=job["workers"],
        intra_threads=job["threads"],
    )

    def translate(lines: list[str]) -> list[str]:
        composed = [unicodedata.normalize("NFC", line) for line in lines]
        cut = [[*pieces.encode(line, out_type=str), "</s>"] for line in composed]
        results = translator.translate_batch(
            cut, beam_size=job["beam"], max_batch_size=job["batch"], length_penalty=1.0, max_decoding_length=256
        )
        return [pieces.decode(result.hypotheses[0]) for result in results]

    return translate


if __name__ == "__main__":
    say_versions("ctranslate2")
    decode(read_job() | {"processes": False}, load)
