// Products of rows with dense layers whose weights lie in panels, as floats or as 8 bits.

#pragma once

#include "vectors.h"

// Weights [outputs, inputs] in panels [outputs / COLUMNS][inputs][COLUMNS], filled up with zeros: float, or int8 where
// there is a scale for each output. Scales and bias are filled up to whole panels too.
typedef struct {
  int32_t inputs, outputs;
  const void *panels;
  const float *scales, *bias;
} Dense;

enum { NO_FUNCTION, RELU, GELU, GELU_TANH, SILU };

int32_t columns(void) { return COLUMNS; }

static float function_of(float value, int function) {
  switch (function) {
    case GELU: return 0.5f * value * (1 + erff(value * 0.70710678f));
    case GELU_TANH: return 0.5f * value * (1 + tanhf(0.79788456f * (value + 0.044715f * value * value * value)));
    case SILU: return value / (1 + expf(-value));
    default: return value;
  }
}

static floats activated(floats values, int function) {
  if (function == RELU) return (floats)((integers)values & (values > 0.0f));
  for (int lane = 0; lane < LANES; ++lane) values[lane] = function_of(values[lane], function);
  return values;
}

// What becomes of a product: a function of it, or what was there before added to it.
typedef struct {
  int32_t function, add;
} Finish;

ALWAYS floats widened(const int8_t *from) {
#if defined __AVX512F__
  return (floats)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)from)));
#elif defined __AVX2__
  return (floats)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)from)));
#else
  floats values;
  for (int lane = 0; lane < LANES; ++lane) values[lane] = from[lane];
  return values;
#endif
}

ALWAYS floats weights(const void *panel, long at, int narrow) {
  return narrow ? widened((const int8_t *)panel + at) : load((const float *)panel + at);
}

// Take the sums of some rows by the columns from `first` on to where they belong, whatever becomes of them.
static __attribute__((noinline)) void finish(const Dense *dense, const float *sums, int first, int rows, float *to,
                                             Finish how) {
  const int outputs = dense->outputs;
  for (int part = 0; part < VECTORS; ++part) {
    const int column = first + part * LANES, count = outputs - column;
    if (count <= 0) return;
    const floats bias = load(dense->bias + column);
    const floats scale = dense->scales ? load(dense->scales + column) : (floats){0};
    for (int row = 0; row < rows; ++row) {
      const floats sum = load(sums + row * COLUMNS + part * LANES);
      floats value = dense->scales ? sum * scale + bias : sum + bias;
      float *there = to + (long)row * outputs + column;
      if (how.function) value = activated(value, how.function);
      if (count < LANES) {
        for (int lane = 0; lane < count; ++lane) there[lane] = how.add ? there[lane] + value[lane] : value[lane];
      } else {
        if (how.add) value += load(there);
        store(there, value);
      }
    }
  }
}

// `count` rows, known when this is compiled, by one panel.
ALWAYS void block(const Dense *dense, const void *panel, int narrow, int first, const float *from, int count, float *to,
                  Finish how, const void *ahead) {
  floats total[ROWS][VECTORS];
  const int inputs = dense->inputs;
#pragma GCC unroll 16
  for (int row = 0; row < count; ++row)
#pragma GCC unroll 8
    for (int part = 0; part < VECTORS; ++part) total[row][part] = (floats){0};
  for (int input = 0; input < inputs; ++input) {
    // The next panel comes from afar: it is asked for while this one is used.
    __builtin_prefetch((const char *)ahead + (long)input * 64, 0, 2);
    floats weight[VECTORS];
#pragma GCC unroll 8
    for (int part = 0; part < VECTORS; ++part)
      weight[part] = weights(panel, (long)input * COLUMNS + part * LANES, narrow);
#pragma GCC unroll 16
    for (int row = 0; row < count; ++row)
#pragma GCC unroll 8
      for (int part = 0; part < VECTORS; ++part) total[row][part] += weight[part] * from[(long)row * inputs + input];
  }
  if (first + COLUMNS <= dense->outputs && how.function <= RELU) {
    // The usual case, without leaving the registers.
    const floats at_least = how.function ? (floats){0} : (floats){0} - INFINITY;
#pragma GCC unroll 8
    for (int part = 0; part < VECTORS; ++part) {
      const int column = first + part * LANES;
      const floats bias = load(dense->bias + column), scale = narrow ? load(dense->scales + column) : (floats){0};
#pragma GCC unroll 16
      for (int row = 0; row < count; ++row) {
        float *there = to + (long)row * dense->outputs + column;
        floats value = larger(narrow ? total[row][part] * scale + bias : total[row][part] + bias, at_least);
        store(there, how.add ? value + load(there) : value);
      }
    }
    return;
  }
  float sums[ROWS * COLUMNS];
#pragma GCC unroll 16
  for (int row = 0; row < count; ++row)
#pragma GCC unroll 8
    for (int part = 0; part < VECTORS; ++part) store(sums + row * COLUMNS + part * LANES, total[row][part]);
  finish(dense, sums, first, count, to, how);
}

ALWAYS void rows_by_panel(const Dense *dense, const void *panel, int narrow, int first, const float *from, int rows,
                          float *to, Finish how) {
  for (int row = 0; row < rows; row += ROWS) {
    const float *some = from + (long)row * dense->inputs;
    float *there = to + (long)row * dense->outputs;
    const long size = (long)dense->inputs * COLUMNS * (narrow ? 1 : 4);
    const char *ahead = (const char *)panel + size + row / ROWS * (long)dense->inputs * 64 % size;
#define BLOCK(count) \
  case count: block(dense, panel, narrow, first, some, count, there, how, ahead); break
    switch (rows - row) {
      BLOCK(1);
      BLOCK(2);
      BLOCK(3);
      BLOCK(4);
      BLOCK(5);
#if ROWS > 6
      BLOCK(6);
      BLOCK(7);
      BLOCK(8);
      BLOCK(9);
      BLOCK(10);
      BLOCK(11);
#endif
      default: block(dense, panel, narrow, first, some, ROWS, there, how, ahead);
    }
  }
}

static __attribute__((noinline)) void rows_by_floats(const Dense *dense, const float *panel, int first,
                                                     const float *from, int rows, float *to, Finish how) {
  rows_by_panel(dense, panel, 0, first, from, rows, to, how);
}

static __attribute__((noinline)) void rows_by_bytes(const Dense *dense, const int8_t *panel, int first,
                                                    const float *from, int rows, float *to, Finish how) {
  rows_by_panel(dense, panel, 1, first, from, rows, to, how);
}

// from [rows, inputs] -> to [rows, outputs].
static void multiply(const Dense *dense, const float *from, int rows, float *to, Finish how) {
  const long panel_size = (long)dense->inputs * COLUMNS;
  for (int first = 0; first < dense->outputs; first += COLUMNS) {
    const long at = first / COLUMNS * panel_size;
    if (dense->scales) {
      rows_by_bytes(dense, (const int8_t *)dense->panels + at, first, from, rows, to, how);
    } else {
      rows_by_floats(dense, (const float *)dense->panels + at, first, from, rows, to, how);
    }
  }
}
