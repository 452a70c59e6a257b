"""Decode with Hugging Face's `generate`, lines of like length together."""

import unicodedata

from common import Job, Translate, decode, read_job, say_versions


def load(job: Job) -> Translate:
    """Return what translates lines."""
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    torch.set_num_threads(job["threads"])
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    model = AutoModelForSeq2SeqLM.from_pretrained(job["model"]).eval()

    def translate(lines: list[str]) -> list[str]:
        answers = [""] * len(lines)
        order = sorted(range(len(lines)), key=lambda number: -len(lines[number]))
        for start in range(0, len(order), job["batch"]):
            chosen = order[start : start + job["batch"]]
            inputs = tokenizer(
                [unicodedata.normalize("NFC", lines[number]) for number in chosen], return_tensors="pt", padding=True
            )
            with torch.inference_mode():
                found = model.generate(
                    input_ids=inputs["input_ids"],
                    attention_mask=inputs["attention_mask"],
                    num_beams=job["beam"],
                    do_sample=False,
                    # As many as calque allows the longest of them.
                    max_new_tokens=2 * inputs["input_ids"].shape[1] + 20,
                )
            for number, text in zip(chosen, tokenizer.batch_decode(found, skip_special_tokens=True), strict=True):
                answers[number] = text
        return answers

    return translate


if __name__ == "__main__":
    say_versions("torch", "transformers")
    decode(read_job(), load)
