// One step of a Transformer's decoder, alone or with one step of search, in one call each.

#include "beam.h"

// Write the log-probabilities of all tokens [R, V].
void decoder_step(const Stack *stack, const Step *step) {
  score(stack, step);
  const int count = stack->head.outputs;
  for (int row = 0; row < step->rows; ++row) {
    float *scores = step->log_probs + (long)row * count, shift = log_sum(scores, count);
    for (int at = 0; at < count; ++at) scores[at] -= shift;
  }
}

// One step of the model and of search. Greedy search has one candidate: if it ends, the search ends too.
void decoder_branch(const Stack *stack, const Step *step, Beam *beam) {
  score(stack, step);
  beam->num_finished = 0;
  for (int sentence = 0; sentence < beam->sentences; ++sentence) {
    Candidates found = {0, beam->beam > 1 ? 2 * beam->beam : 1, beam->candidates};
    look_for(stack, step, beam, sentence, &found);
    branch(step, beam, sentence, &found);
    beam->finished[sentence] = is_finished(beam, sentence, step->time);
    if (!beam->finished[sentence]) continue;
    ++beam->num_finished;
    for (int number = 0; number < beam->beam; ++number) beam->sums[(long)sentence * beam->beam + number] = HIDDEN;
  }
}
