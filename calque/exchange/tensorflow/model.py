"""A model as TensorFlow functions: encoder, decoder and head over variables of its weights.

Settings that the functions do not support are refused by the name of their field in the recipe.
"""

from collections.abc import Callable, Sequence

from calque.exchange.limits import CELLS, require, require_recurrent
from calque.exchange.tensorflow.basics import Memory, Module, Nest, Values, Weights, log_probs, tf, within
from calque.exchange.tensorflow.positions import build_positions
from calque.exchange.tensorflow.recurrent import ATTENTIONS, RecurrentDecoder
from calque.exchange.tensorflow.recurrent import encode as encode_recurrent
from calque.exchange.tensorflow.search import forced, greedy
from calque.exchange.tensorflow.transformer import TransformerDecoder
from calque.exchange.tensorflow.transformer import encode as encode_transformer
from calque.ids import PAD
from calque.model import ModelConfig, Seq2Seq
from calque.nn.recurrent.encoder_decoder import RecurrentDecoderConfig, RecurrentEncoderConfig
from calque.nn.transformer.encoder_decoder import TransformerDecoderConfig, TransformerEncoderConfig
from calque.search.options import SearchConfig

LIBRARY = "TensorFlow"


class Translator:
    """Score target tokens with TensorFlow: encoder, decoder and head of a model, over variables of its weights."""

    def __init__(self, config: ModelConfig, model: Seq2Seq, weights: Weights) -> None:
        """Take weights by the names of the model's state dict."""
        self.config, self.head = config, within(weights, "head")
        encoder, decoder = within(weights, "encoder"), within(weights, "decoder")
        self.read = _encoder(config, model, encoder)
        if isinstance(config.decoder, RecurrentDecoderConfig):
            self.decoder: RecurrentDecoder | TransformerDecoder = RecurrentDecoder(config.decoder, decoder)
        else:
            assert isinstance(config.decoder, TransformerDecoderConfig)
            positions = build_positions(model.decoder.get_submodule("positions"), decoder)
            self.decoder = TransformerDecoder(config.decoder, decoder, positions)

    def start(self, source_ids: Values) -> tuple[Values, Nest]:
        """Return (context, state) for source ids [B, S]."""
        context, state = self.decoder.start(self.read(source_ids, source_ids != PAD))
        return context, state

    def step(self, token: Values, time: Values, state: Nest, context: Nest) -> tuple[Values, Nest]:
        """Return (log-probabilities [B, V], next state) after `token` [B] at position `time`."""
        hidden, state = self.decoder.step(token, time, state, context)
        return log_probs(hidden, self.head), state


def _encoder(config: ModelConfig, model: Seq2Seq, weights: Weights) -> Callable[[Values, Values], Memory]:
    """Return a function from tokens and mask to memory."""
    encoder = config.encoder
    if isinstance(encoder, RecurrentEncoderConfig):

        def read_recurrent(tokens: Values, mask: Values) -> Memory:
            return encode_recurrent(tokens, mask, encoder, weights)

        return read_recurrent
    assert isinstance(encoder, TransformerEncoderConfig)
    positions = build_positions(model.encoder.get_submodule("positions"), weights)

    def read_transformer(tokens: Values, mask: Values) -> Memory:
        return encode_transformer(tokens, mask, encoder, weights, positions)

    return read_transformer


def build_module(config: ModelConfig, model: Seq2Seq, options: SearchConfig, prefix: Sequence[int] = ()) -> Module:
    """Return a tf.Module with `generate`, `log_probs` and `weights`, variables by the names of the state dict.

    Outputs begin with the ids of `prefix`. Raises UsageError naming a field of the recipe that is not supported.
    """
    require_expressible(config)
    made: dict[int, Values] = {}
    weights = {}
    for name, value in model.state_dict().items():
        # A table that two parts share is one variable with two names.
        if value.data_ptr() not in made:
            made[value.data_ptr()] = tf.Variable(value.cpu().numpy(), name=name.replace(".", "_"))
        weights[name] = made[value.data_ptr()]
    translator = Translator(config, model, weights)
    source_ids = tf.TensorSpec([None, None], tf.int32, name="source_ids")
    max_length = tf.TensorSpec([], tf.int32, name="max_length")
    inputs = tf.TensorSpec([None, None], tf.int32, name="inputs")

    def generate(source_ids: Values, max_length: Values) -> dict[str, Values]:
        return greedy(translator, source_ids, max_length, options, prefix)

    def log_probs_of(source_ids: Values, inputs: Values) -> dict[str, Values]:
        return {"log_probs": forced(translator, source_ids, inputs)}

    module = tf.Module()
    module.weights = weights
    module.generate = tf.function(generate, input_signature=[source_ids, max_length], autograph=False)
    module.log_probs = tf.function(log_probs_of, input_signature=[source_ids, inputs], autograph=False)
    return module


def require_expressible(config: ModelConfig) -> None:
    """Raise UsageError naming a field of the recipe that these functions do not support."""
    kinds = (*CELLS, "transformer")
    require("model.encoder.kind", config.encoder.kind, kinds, LIBRARY)
    require("model.decoder.kind", config.decoder.kind, kinds, LIBRARY)
    require_recurrent(config, (*ATTENTIONS, "none"), LIBRARY)
