"""Names of calque's settings, options and commands in other toolkits, for the errors about unknown names."""

from collections.abc import Collection, Iterable

# A recipe field with its value, and its names elsewhere. Names are compared without case, dashes and underscores.
FIELDS = {
    "train.max_epochs=N": "epochs epoch num_epochs n_epochs nb_epochs max_epoch num_train_epochs total_epochs",
    "train.max_updates=N": (
        "steps max_steps num_steps train_steps training_steps num_train_steps max_train_steps total_steps iterations"
        " iters max_iter max_iters num_iterations max_update updates num_updates total_num_update"
    ),
    "train.lr=RATE": "learning_rate learningrate initial_lr init_lr base_lr max_lr peak_lr eta step_size",
    "train.batch_tokens=N": (
        "batch_size batch batchsize train_batch_size per_device_train_batch_size max_tokens tokens_per_batch"
        " batch_words mini_batch minibatch minibatch_size mini_batch_size bs effective_batch_size"
    ),
    "train.micro_batch_tokens=N": (
        "micro_batch micro_batch_size gradient_accumulation_steps accum_count update_freq accumulate_grad_batches"
        " grad_accum gradient_accumulation piece_tokens"
    ),
    "train.warmup=N": "warmup_steps warmup_updates num_warmup_steps lr_warmup warm_up warmup_ratio lr_warmup_steps",
    "train.schedule=NAME": "lr_scheduler lr_scheduler_type scheduler lr_schedule decay_method lr_decay lr_policy",
    "train.optimizer.kind=NAME": "optim optimizer_type optimiser optimizer opt_type",
    "train.optimizer.weight_decay=X": "weight_decay wd l2 regularization l2_reg",
    "train.optimizer.beta1=X": "adam_beta1 momentum",
    "train.optimizer.beta2=X": "adam_beta2",
    "train.optimizer.epsilon=X": "adam_epsilon adam_eps eps",
    "train.label_smoothing=X": "label_smoothing_factor smoothing labelsmoothing label_smooth ls",
    "train.clip=X": "max_grad_norm clip_norm grad_clip gradient_clip gradient_clip_val clip_grad gradient_clipping",
    "train.patience=N": "early_stopping early_stopping_patience early_stop early_stopping_rounds",
    "train.validate_every=N": (
        "eval_steps valid_steps valid_freq eval_every eval_interval validation_frequency validate_interval"
        " val_check_interval eval_frequency validate_interval_updates"
    ),
    "train.save_every=N": "save_steps save_freq save_interval checkpoint_interval checkpoint_every",
    "train.device=cuda": "gpu gpus cuda use_gpu use_cuda device num_gpus gpu_ids gpuid accelerator",
    "train.device=cpu": "cpu no_cuda no_gpu use_cpu",
    "train.precision=bf16": "fp16 bf16 amp mixed_precision half autocast use_amp precision float16 bfloat16",
    "train.seed=N": "seed random_seed random_state manual_seed rng_seed",
    "train.threads=N": "threads num_threads cpu_threads num_workers workers n_jobs jobs cpus cores nproc",
    "train.start_from=MODEL": "init_from pretrained pretrained_model restore_file train_from finetune_from",
    "train.time=20m": "max_time timeout time_limit duration max_minutes",
    "model.encoder.dropout=X and model.decoder.dropout=X": "dropout dropout_rate p_dropout dropout_p hidden_dropout",
    "model.encoder.width=N and model.decoder.width=N": (
        "hidden_size hidden_dim hidden rnn_size d_model model_dim embed_dim embedding_dim embedding_size emb_dim dim"
        " units num_units word_vec_size encoder_embed_dim decoder_embed_dim hidden_units n_hidden hid_dim"
    ),
    "model.encoder.layers=N and model.decoder.layers=N": (
        "layers num_layers n_layers nlayers num_hidden_layers encoder_layers decoder_layers depth enc_layers dec_layers"
    ),
    "model.encoder.heads=N and model.decoder.heads=N": (
        "heads num_heads n_heads nhead nheads num_attention_heads attention_heads encoder_attention_heads"
    ),
    "model.encoder.feed_forward=N and model.decoder.feed_forward=N": (
        "ffn_dim d_ff dim_feedforward feedforward feed_forward_dim transformer_ff ffn intermediate_size ff_size"
    ),
    "model.encoder.kind=NAME": "rnn_type encoder_type cell cell_type encoder",
    "model.decoder.kind=NAME": "decoder_type decoder",
    "model.encoder.bidirectional=true": "bidirectional bidir brnn birnn",
    "model.decoder.attention.kind=NAME": "attention global_attention attention_type attn attn_type attention_mechanism",
    "model.decoder.input_feeding=true": "input_feed input_feeding",
    "model.tie_embeddings=all": "share_embeddings tied_embeddings share_all_embeddings tie_weights tie_word_embeddings",
    "text.vocab_size=N": (
        "vocab_size vocabulary_size vocab num_words src_vocab_size tgt_vocab_size source_vocab_size target_vocab_size"
        " bpe_size num_merges merge_ops max_vocab_size n_vocab"
    ),
    "text.joint=true": "share_vocab joined_dictionary shared_vocab joint_vocab share_vocabulary joint_dictionary",
    "text.source.kind=NAME and text.target.kind=NAME": "tokenizer tokenizer_type tokenization tok subword token_type",
    "text.source.algorithm=bpe and text.target.algorithm=bpe": "bpe use_bpe bpe_codes codes_file",
    "data.max_length=N": (
        "max_len max_length max_seq_len max_seq_length max_sentence_length max_source_length max_target_length"
        " max_source_positions max_target_positions src_seq_length tgt_seq_length seq_len block_size"
    ),
    "search.beam=N": "beam num_beams beam_size beam_width beamsize",
    "search.n_best=N": "n_best nbest num_return_sequences num_hypotheses top_n",
    "search.length_penalty=X": "length_penalty lenpen alpha len_penalty length_alpha lp",
    "search.min_length=N": "min_length min_len min_decode_length min_new_tokens min_decoding_length",
    "search.max_length_extra=N": "max_new_tokens max_decode_length max_len_b max_decoding_length max_output_length",
    "search.max_length_ratio=X": "max_len_a max_length_factor",
    "search.no_repeat_ngram=N": "no_repeat_ngram_size block_ngram_repeat ngram_block no_repeat_n_gram",
    "task.metrics=[NAME]": "metrics metric best_checkpoint_metric metric_for_best_model eval_metric",
    "data.columns.source=NAME": "source_column src_column text_column source_field src_col input_column",
    "data.columns.target=NAME": "target_column tgt_column summary_column target_field tgt_col output_column",
}
# An option with its value, and the names that mean it. Of several that fit, the first that a command has is named.
OPTIONS = {
    "--valid FILE": (
        "valid_data valid_file validation validation_data validation_file dev dev_data dev_file devset val val_data"
        " val_file validpref eval_data eval_file valid_set valid_src valid_tgt"
    ),
    "--test FILE": "test_data test_file testpref testset test_set",
    "--out DIR": "output_dir outdir save_dir model_dir checkpoint_dir run_dir save_model log_dir output save",
    "--output FILE": "output_file outfile out_file out tgt target pred result_path hypotheses results",
    "--input FILE": "input_file infile in_file source_file src source file text_file in",
    "--model NAME": "arch architecture model_type network model_name",
    "--size NAME": "model_size preset",
    "--from MODEL": (
        "init_from pretrained pretrained_model restore_file train_from finetune_from finetune resume_from resume load"
        " checkpoint ckpt init model_name_or_path resume_from_checkpoint start_from load_model"
    ),
    "--time 20m": "max_time timeout time_limit duration max_minutes",
    "--languages SOURCE-TARGET": (
        "source_lang target_lang src_lang tgt_lang lang langs language lang_pair lang_pairs language_pair"
        " source_language target_language"
    ),
    "--threads N": "num_threads cpu_threads num_workers workers n_jobs jobs cpus cores nproc intra_threads",
    "--seed N": "random_seed random_state manual_seed rng_seed",
    "--fresh": "overwrite force restart overwrite_output_dir from_scratch reset clean",
    "--dry-run": "plan simulate check_only dry noop",
    "--config FILE": "config_file yaml params conf cfg hparams_file recipe",
    "--set KEY=VALUE": "override option param hparam hparams params settings",
    "--beam N": "num_beams beam_size beam_width beamsize",
    "--n-best N": "nbest num_return_sequences num_hypotheses top_n hypotheses",
    "--batch N": "batch_size batchsize per_device_eval_batch_size eval_batch_size",
    "--scores": "score print_scores with_scores output_scores report_score",
    "--format NAME": "output_format fmt",
    "--json": "json_output output_json as_json",
    "--metric NAME": "metrics measure measures score",
    "--tokenize NAME": "tokenizer tok tokenise tokenization",
    "--with MODEL": "ensemble models other_model ensemble_with",
    "--engine NAME": "backend runtime device int8 quantize quantization compute_type",
    "--fix OUT": "clean output repair write_clean",
    "--against FILE": "other test reference compare",
    "--to FORMAT": "format target_format type",
    "--quiet": "silent no_progress",
    "--verbose": "log_level print_config",
}
COMMANDS = {
    "generate": (
        "translate summarize summarise predict infer inference decode answer transcribe sample interactive complete"
        " ask run generation translation convert_text"
    ),
    "train": "fit finetune fine_tune learn pretrain resume continue training tune trainer",
    "eval": "evaluate test validate benchmark bleu sacrebleu evaluation metrics",
    "check": "lint stats analyze analyse verify clean validate_data inspect_data diagnose",
    "info": "show describe status summary list details",
    "recipe": "config params settings hparams options parameters configuration",
    "export": "convert save dump onnx quantize",
    "import": "load convert_from",
    "demo": "quickstart example tutorial try start hello",
}
# Data and models, which are arguments without a name.
ARGUMENTS = {
    "train": "src tgt source target data train_data train_file dataset input train trainpref corpus",
    "eval": "model model_dir model_path data test src tgt source target ref reference input checkpoint path",
    "generate": "model model_dir model_path checkpoint path text prompt",
    "check": "src tgt source target data input train_data",
    "info": "model model_dir model_path",
    "export": "model model_dir model_path out output",
    "import": "model model_dir model_path out output",
}
FORMS = {
    "train": "calque train PAIRS, or calque train SOURCE TARGET",
    "eval": "calque eval MODEL PAIRS, or calque eval MODEL SOURCE TARGET",
    "generate": "calque generate MODEL TEXT",
    "check": "calque check PAIRS, or calque check SOURCE TARGET",
    "info": "calque info MODEL",
    "export": "calque export MODEL OUT --to FORMAT",
    "import": "calque import FORMAT FROM OUT",
}


def field_meant(name: str) -> str | None:
    """Return the recipe field, with its value, whose name elsewhere is the last part of a dotted key."""
    return _found(FIELDS, name.rpartition(".")[2])


def command_meant(name: str) -> str | None:
    """Return the command that has this name elsewhere."""
    return _found(COMMANDS, name)


def option_meant(name: str, command: str, options: Collection[str]) -> str | None:
    """Return the replacement of an option that `command`, which has `options`, does not have.

    It is another option, settings of the recipe, or the form of a command whose data and models are arguments.
    """
    for ours, names in OPTIONS.items():
        if ours.partition(" ")[0] in options and _plain(name) in _each(names):
            return ours
    if _plain(name) in _each(ARGUMENTS.get(command, "")):
        return FORMS[command]
    setting = _found(FIELDS, name) or next((ours for ours in FIELDS if _plain(name) == _plain(_last(ours))), None)
    if setting is None:
        return None
    written = " ".join(f"--set {part}" for part in setting.split(" and "))
    return written if command == "train" else f"calque train with {written}"


def _last(setting: str) -> str:
    return setting.partition("=")[0].rpartition(".")[2]


def _found(table: dict[str, str], name: str) -> str | None:
    return next((ours for ours, names in table.items() if _plain(name) in _each(names)), None)


def _each(names: str) -> Iterable[str]:
    return map(_plain, names.split())


def _plain(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "")
