"""Decode with calque's Predictor and one of its engines."""

from common import Job, Translate, decode, read_job, say_versions


def load(job: Job) -> Translate:
    """Return what translates lines with the model, its engine, its own workers and threads."""
    import dataclasses

    import torch

    from calque import api

    # The engine that calls CTranslate2 has workers of its own, as many as there are threads.
    through = job["engine"] == "ctranslate2"
    torch.set_num_threads(job["threads"] * job["workers"] if through else job["threads"])
    predictor = api.load(job["model"], beam=job["beam"], engine=job["engine"])
    if not through:
        predictor = dataclasses.replace(predictor, processes=job["workers"])
    return lambda lines: predictor.best(lines, job["batch"])


if __name__ == "__main__":
    say_versions("torch")
    decode(read_job() | {"processes": False}, load)
