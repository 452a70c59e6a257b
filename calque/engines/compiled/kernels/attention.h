// What one query takes from some places: how it meets their keys, and the mix of their values. A place is a pointer, so
// that nothing is moved to be attended to.

#pragma once

#include "vectors.h"

// Turn scores into weights, in place; return what they must be divided by. There is room for whole vectors.
static float weigh(float *scores, int count) {
  int whole = (count + LANES - 1) / LANES * LANES;
  for (int at = count; at < whole; ++at) scores[at] = HIDDEN;
  return exponentials(scores, scores, highest(scores, whole), whole);
}

// How a query [deep] meets the keys that lie at `shift` from each of some places.
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

// `VECTORS_AT_ONCE` vectors of a sum over places, or one.
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

// Mix the values [deep] that lie at `shift` from each of some places by weights that sum to `total`.
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

// Find those of a sentence's places, `stride` floats long each, that count; return how many.
static int find_places(const float *memory, long stride, int places, const uint8_t *mask, const float **found) {
  int count = 0;
  for (int place = 0; place < places; ++place)
    if (mask[place]) found[count++] = memory + place * stride;
  return count;
}
