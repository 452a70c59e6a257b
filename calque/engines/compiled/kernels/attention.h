// Attention of one query to some positions: scores with their keys, and the weighted mean of their values. A position
// is a pointer, so no keys or values are copied.

#pragma once

#include "vectors.h"

// Exponentiate scores in place, and return the sum by which they must be divided. The array has room for whole vectors.
static float weigh(float *scores, int count) {
  int whole = (count + LANES - 1) / LANES * LANES;
  for (int at = count; at < whole; ++at) scores[at] = HIDDEN;
  return exponentials(scores, scores, highest(scores, whole), whole);
}

// Write the scores of a query [deep] with the keys at offset `shift` of each position.
static void meet(const float *query, const float *const *places, long shift, int count, int deep, float *scores) {
  int at = 0;
  for (; at + 4 <= count; at += 4) {
    const float *const *some = places + at;
    floats total[4] = {{0}, {0}, {0}, {0}};
    float rest[4] = {0};
    int lane = 0;
    for (; lane + LANES <= deep; lane += LANES)
      for (int number = 0; number < 4; ++number)
        total[number] += load(query + lane) * load(some[number] + shift + lane);
    for (; lane < deep; ++lane)
      for (int number = 0; number < 4; ++number) rest[number] += query[lane] * some[number][shift + lane];
    across_four(total, scores + at);
    for (int number = 0; number < 4; ++number) scores[at + number] += rest[number];
  }
  for (; at < count; ++at) scores[at] = dot(query, places[at] + shift, deep);
}

// Compute `VECTORS_AT_ONCE` vectors of a sum over positions, or one.
#define VECTORS_AT_ONCE 4
ALWAYS void gather_some(const float *weights, float total, const float *const *places, long shift, int count,
                        int vectors, float *mixed) {
  floats sums[VECTORS_AT_ONCE];
#pragma GCC unroll 4
  for (int part = 0; part < vectors; ++part) sums[part] = (floats){0};
  for (int place = 0; place < count; ++place) {
    const float *values = places[place] + shift;
#pragma GCC unroll 4
    for (int part = 0; part < vectors; ++part) sums[part] += load(values + part * LANES) * weights[place];
  }
#pragma GCC unroll 4
  for (int part = 0; part < vectors; ++part) store(mixed + part * LANES, sums[part] / total);
}

// Write the mean of the values [deep] at offset `shift` of each position, with weights whose sum is `total`.
static void gather(const float *weights, float total, const float *const *places, long shift, int count, int deep,
                   float *mixed) {
  int at = 0;
  for (; at + VECTORS_AT_ONCE * LANES <= deep; at += VECTORS_AT_ONCE * LANES)
    gather_some(weights, total, places, shift + at, count, VECTORS_AT_ONCE, mixed + at);
  for (; at + LANES <= deep; at += LANES) gather_some(weights, total, places, shift + at, count, 1, mixed + at);
  for (; at < deep; ++at) {
    mixed[at] = 0;
    for (int place = 0; place < count; ++place) mixed[at] += places[place][shift + at] * weights[place];
    mixed[at] /= total;
  }
}

// List the positions of a sentence that are not masked, each `stride` floats long; return their number.
static int find_places(const float *memory, long stride, int places, const uint8_t *mask, const float **found) {
  int count = 0;
  for (int place = 0; place < places; ++place)
    if (mask[place]) found[count++] = memory + place * stride;
  return count;
}
