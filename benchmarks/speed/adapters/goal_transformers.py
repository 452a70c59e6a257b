"""Train Hugging Face's Pegasus class in the plain loop until a validation passes, then translate the test set.

Pegasus is its Transformer of calque's kind: norms before, sinusoids; Marian's, norms after, does not bear the same
rates. The rate is that of its cosine schedule over the epochs of the job.
"""

from pathlib import Path

import sacrebleu
import sentencepiece
import torch
from common import Job, read_job, say
from train_transformers import BEGIN, END, FIRST, PAD, batches, build, padded, read_pairs, step
from transformers import PegasusForConditionalGeneration, get_cosine_schedule_with_warmup

MOST = 128
# Of all updates.
WARMUP = 0.1


class Text:
    """Cut lines into the ids of the pieces, and put them together again."""

    def __init__(self, job: Job) -> None:
        model = next((Path(job["data"]) / "text").glob("*.model"))
        self.pieces = sentencepiece.SentencePieceProcessor(model_file=str(model))

    def read(self, line: str) -> list[int]:
        """Return ids with </s>."""
        return [*(FIRST + number for number in self.pieces.encode(line)), END]

    def write(self, ids: list[int]) -> str:
        """Return the text of ids, specials left out."""
        return self.pieces.decode([number - FIRST for number in ids if number >= FIRST])


@torch.inference_mode()
def translate(model: torch.nn.Module, text: Text, lines: list[str], beam: int) -> list[str]:
    """Translate lines, those of like length together."""
    model.eval()
    sources = [text.read(line) for line in lines]
    order = sorted(range(len(lines)), key=lambda at: -len(sources[at]))
    answers = [""] * len(lines)
    for start in range(0, len(order), 64):
        chosen = order[start : start + 64]
        rows = padded([sources[at] for at in chosen])
        mask = (rows != PAD).long()
        found = model.generate(input_ids=rows, attention_mask=mask, num_beams=beam, max_length=MOST, do_sample=False)
        for at, ids in zip(chosen, found.tolist(), strict=True):
            answers[at] = text.write(ids)
    model.train()
    return answers


def main() -> None:
    """Train, tell each validation, translate."""
    job = read_job()
    torch.set_num_threads(job["threads"])
    torch.manual_seed(job["seed"])
    text, model = Text(job), build(job, PegasusForConditionalGeneration).train()
    model.generation_config.update(decoder_start_token_id=BEGIN, eos_token_id=END, pad_token_id=PAD)
    optimizer = torch.optim.Adam(model.parameters(), lr=job["lr"], betas=(0.9, 0.98), fused=True)
    pairs = read_pairs(Path(job["data"]))
    updates = job["epochs"] * sum(len(targets) for _, targets in pairs) // job["batch"]
    schedule = get_cosine_schedule_with_warmup(optimizer, int(WARMUP * updates), updates)
    best_score, best = -1.0, model.state_dict()
    dev = {side: Path(job[f"val_{side}"]).read_text(encoding="utf-8").splitlines() for side in ("en", "de")}
    for number, chosen in enumerate(batches(pairs, job["batch"], job["seed"]), start=1):
        rows = [padded([pairs[at][side] for at in chosen]) for side in (0, 1)]
        step(model, rows[0], rows[1], job).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        if number % job["every"] and number < updates:
            continue
        score = sacrebleu.corpus_bleu(translate(model, text, dev["en"], 1), [dev["de"]]).score
        say(update=number, dev=score)
        if score > best_score:
            best_score, best = score, {name: values.clone() for name, values in model.state_dict().items()}
        if score >= job["target"] or number == updates:
            break
    test = Path(job["test_en"]).read_text(encoding="utf-8").splitlines()
    model.load_state_dict(best)
    answers = translate(model, text, test, 5)
    Path(job["answers"]).write_text("".join(f"{' '.join(line.split())}\n" for line in answers), encoding="utf-8")


if __name__ == "__main__":
    main()
