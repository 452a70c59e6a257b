// One step of a Transformer's decoder, and what search makes of its scores, in one call each.

#include "beam.h"

// Write the log-probabilities of every token [R, V].
void decoder_step(const Stack *stack, const Step *step) {
  score(stack, step);
  const int count = stack->head.outputs;
  for (int row = 0; row < step->rows; ++row) {
    float *scores = step->log_probs + (long)row * count, shift = log_sum(scores, count);
    for (int at = 0; at < count; ++at) scores[at] -= shift;
  }
}

// What greedy search wants of a step: the best of the tokens that are not `banned`, the first of equals, its
// log-probability, and that of `end`, each [R].
void decoder_choose(const Stack *stack, const Step *step, const int64_t *banned, int32_t num_banned, int64_t end,
                    int64_t *best, float *best_log_probs, float *end_log_probs) {
  score(stack, step);
  const int count = stack->head.outputs;
  for (int row = 0; row < step->rows; ++row) {
    float *scores = step->log_probs + (long)row * count, shift = log_sum(scores, count);
    end_log_probs[row] = scores[end] - shift;
    for (int number = 0; number < num_banned; ++number) scores[banned[number]] = HIDDEN;
    const float most = highest(scores, count);
    best[row] = place_of(scores, most, count);
    best_log_probs[row] = most - shift;
  }
}

// One step of the model and of beam search over it.
void decoder_branch(const Stack *stack, const Step *step, Beam *beam) {
  score(stack, step);
  beam->num_finished = 0;
  for (int sentence = 0; sentence < beam->sentences; ++sentence) {
    Candidates found = {0, 2 * beam->beam, beam->candidates};
    look_for(stack, step, beam, sentence, &found);
    branch(step, beam, sentence, &found);
    beam->finished[sentence] = is_finished(beam, sentence, step->time);
    if (!beam->finished[sentence]) continue;
    ++beam->num_finished;
    for (int number = 0; number < beam->beam; ++number) beam->sums[(long)sentence * beam->beam + number] = HIDDEN;
  }
}
