// One step of beam search after the model's scores; `calque/search/steps.py` does the same for any model.

#pragma once

#include "transformer.h"

typedef struct {
  float score;
  int32_t row, token;
} Candidate;

// The state of beam search for B sentences with W hypotheses each: 1 at the first step, then K. For each sentence, the
// largest number of tokens, and the divisors [B] of sums that end now, that end at the next step, and that end as late
// as possible. `sums` [B, K], HIDDEN where there is no hypothesis, and their tokens `history` [B, K, length]. For the K
// best finished hypotheses, best first: scores, sums, numbers of tokens, and tokens. Outputs: `finished` [B]; for each
// live hypothesis its last token [B, K] and its ancestors `grown` [B * K, time + 1]. Scratch: `spare` [K, length], and
// `candidates` for 2 K.
typedef struct {
  int32_t sentences, width, beam, n_best, length, num_banned, num_finished;
  int64_t end;
  const int64_t *banned, *limits;
  float divisor, next_divisor;
  const float *last_divisor;
  float *sums, *ended_scores, *ended_sums;
  int64_t *history, *ended_lengths, *ended_tokens, *spare, *tokens;
  int32_t *grown;
  uint8_t *finished;
  Candidate *candidates;
} Beam;

// The best candidates so far, best first; among equal scores the earlier one comes first.
typedef struct {
  int32_t held, most;
  Candidate *best;
} Candidates;

static float last_of(const Candidates *found) {
  return found->held < found->most ? HIDDEN : found->best[found->most - 1].score;
}

static void insert(Candidates *found, Candidate candidate) {
  if (!(candidate.score > last_of(found))) return;
  Candidate *best = found->best;
  int place = found->held < found->most ? found->held++ : found->most - 1;
  for (; place > 0 && candidate.score > best[place - 1].score; --place) best[place] = best[place - 1];
  best[place] = candidate;
}

// Compare the scores of one row, minus `shift` and plus `sum`, with the best so far.
static void look_through(Candidates *found, const float *scores, float shift, float sum, int row, int count) {
  int at = 0;
  for (; at + LANES <= count; at += LANES) {
    floats values = load(scores + at) - shift + sum;
    if (!any(values > last_of(found))) continue;
    for (int lane = 0; lane < LANES; ++lane) insert(found, (Candidate){values[lane], row, at + lane});
  }
  for (; at < count; ++at) insert(found, (Candidate){scores[at] - shift + sum, row, at});
}

// Find the best continuations of one sentence. A hypothesis of full length can only end, even if </s> is forbidden.
static void look_for(const Stack *stack, const Step *step, const Beam *beam, int sentence, Candidates *found) {
  const int count = stack->head.outputs, is_full = beam->limits[sentence] <= step->time;
  for (int number = 0; number < beam->width; ++number) {
    const int row = sentence * beam->width + number;
    const float sum = beam->sums[sentence * beam->beam + number];
    if (sum <= HIDDEN) continue;
    float *scores = step->log_probs + (long)row * count, shift = log_sum(scores, count);
    if (is_full) {
      insert(found, (Candidate){scores[beam->end] - shift + sum, row, (int32_t)beam->end});
      continue;
    }
    for (int other = 0; other < beam->num_banned; ++other) scores[beam->banned[other]] = 2 * HIDDEN;
    look_through(found, scores, shift, sum, row, count);
  }
}

static void copy_numbers(int64_t *to, const int64_t *from, int count) {
  for (int at = 0; at < count; ++at) to[at] = from[at];
}

// Insert a hypothesis that ends now into the K best finished ones, unless these are all as good. None of them is
// longer.
static void keep_ended(const Beam *beam, int sentence, float sum, const int64_t *tokens, int time) {
  const long first = (long)sentence * beam->beam;
  float *scores = beam->ended_scores + first, score = sum / beam->divisor;
  int place = beam->beam;
  while (place > 0 && score > scores[place - 1]) --place;
  if (place == beam->beam) return;
  for (long at = beam->beam - 1; at > place; --at) {
    scores[at] = scores[at - 1];
    beam->ended_sums[first + at] = beam->ended_sums[first + at - 1];
    beam->ended_lengths[first + at] = beam->ended_lengths[first + at - 1];
    int64_t *tokens_there = beam->ended_tokens + (first + at) * beam->length;
    copy_numbers(tokens_there, tokens_there - beam->length, time);
  }
  scores[place] = score;
  beam->ended_sums[first + place] = sum;
  beam->ended_lengths[first + place] = time;
  copy_numbers(beam->ended_tokens + (first + place) * beam->length, tokens, time);
}

// Set hypothesis `number` of a sentence to a candidate, or to none if there is no candidate.
static void live_on(const Step *step, const Beam *beam, int sentence, int number, const Candidate *candidate) {
  const long place = (long)sentence * beam->beam + number;
  const int row = candidate ? candidate->row : sentence * beam->width, time = step->time;
  const int64_t *before = beam->spare + (long)(row - sentence * beam->width) * beam->length;
  beam->sums[place] = candidate ? candidate->score : HIDDEN;
  beam->tokens[place] = candidate ? candidate->token : 0;
  copy_numbers(beam->history + place * beam->length, before, time);
  if (time < beam->length) beam->history[place * beam->length + time] = beam->tokens[place];
  int32_t *grown = beam->grown + place * (time + 1);
  for (int then = 0; then < time; ++then) grown[then] = step->ancestors[(long)row * time + then];
  grown[time] = row;
}

// Return whether no live hypothesis can change the result, or is likely to; see `search.choose`.
static uint8_t is_finished(const Beam *beam, int sentence, int time) {
  const float living = beam->sums[(long)sentence * beam->beam];
  const float *best = beam->ended_scores + (long)sentence * beam->beam, worst = best[beam->beam - 1];
  if (living <= HIDDEN || beam->limits[sentence] <= time) return 1;
  const float last = beam->last_divisor[sentence], largest = last > beam->next_divisor ? last : beam->next_divisor;
  if (living / largest <= best[beam->n_best - 1]) return 1;
  return worst > HIDDEN && living / beam->next_divisor <= worst;
}

// Of the best 2 K candidates, those that end and are among the best K are finished; the best K others stay live.
static void branch(const Step *step, const Beam *beam, int sentence, const Candidates *found) {
  const int time = step->time;
  const int64_t *history = beam->history + (long)sentence * beam->beam * beam->length;
  for (int number = 0; number < beam->width; ++number) {
    for (int place = 0; place < found->held && place < beam->beam; ++place) {
      const Candidate *candidate = found->best + place;
      if (candidate->token != beam->end || candidate->row != sentence * beam->width + number) continue;
      keep_ended(beam, sentence, candidate->score, history + (long)number * beam->length, time);
    }
    copy_numbers(beam->spare + (long)number * beam->length, history + (long)number * beam->length, time);
  }
  int living = 0;
  for (int place = 0; place < found->held && living < beam->beam; ++place)
    if (found->best[place].token != beam->end) live_on(step, beam, sentence, living++, found->best + place);
  while (living < beam->beam) live_on(step, beam, sentence, living++, 0);
}
