// Products of rows with dense layers, whose weights are stored in panels of floats or of 8-bit integers.
//
// For 8-bit weights the values of a row are quantized to bytes too, in equal steps from its lowest to its highest
// value: processors multiply bytes up to four times as fast as floats, and a panel is read in a quarter of the time.

#pragma once

#include "vectors.h"

// Weights [outputs, inputs], padded with zeros: floats in panels [outputs / COLUMNS][inputs][COLUMNS]; or, with a scale
// for each output, int8 in panels [outputs / COLUMNS][inputs / 4][COLUMNS][4], where `inputs` is rounded up to a
// multiple of four, and the `sums` of each output's weights. Scales, sums and bias are padded to whole panels too.
typedef struct {
  int32_t inputs, outputs;
  const void *panels;
  const float *scales, *sums, *bias;
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

// What is done to a product: a function is applied, or the previous value is added.
typedef struct {
  int32_t function, add;
} Finish;

// Write the sums of some rows by the columns from `first` on, with any of these functions.
static __attribute__((noinline)) void finish(const Dense *dense, const float *sums, int first, int rows, float *to,
                                             Finish how) {
  const int outputs = dense->outputs;
  for (int part = 0; part < VECTORS; ++part) {
    const int column = first + part * LANES, count = outputs - column;
    if (count <= 0) return;
    const floats bias = load(dense->bias + column);
    const floats scale = dense->scales ? load(dense->scales + column) : (floats){0} + 1;
    for (int row = 0; row < rows; ++row) {
      const floats sum = load(sums + row * COLUMNS + part * LANES);
      floats value = multiplied_and_added(sum, scale, bias);
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

// Write the sums of some rows by one panel, which are still in registers.
ALWAYS void settle(const Dense *dense, floats total[ROWS][VECTORS], int first, int count, float *to, Finish how) {
  if (first + COLUMNS <= dense->outputs && how.function <= RELU) {
    // The usual case, without leaving the registers.
    const floats at_least = how.function ? (floats){0} : (floats){0} - INFINITY;
#pragma GCC unroll 8
    for (int part = 0; part < VECTORS; ++part) {
      const int column = first + part * LANES;
      const floats bias = load(dense->bias + column);
      const floats scale = dense->scales ? load(dense->scales + column) : (floats){0} + 1;
#pragma GCC unroll 16
      for (int row = 0; row < count; ++row) {
        float *there = to + (long)row * dense->outputs + column;
        // In this order, NaN stays NaN.
        floats value = larger(at_least, multiplied_and_added(total[row][part], scale, bias));
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

// Multiply `count` rows, a constant at compile time, by one panel.
ALWAYS void block_of_floats(const Dense *dense, const float *panel, int first, const float *from, int count, float *to,
                            Finish how, const char *ahead) {
  floats total[ROWS][VECTORS];
  const int inputs = dense->inputs;
#pragma GCC unroll 16
  for (int row = 0; row < count; ++row)
#pragma GCC unroll 8
    for (int part = 0; part < VECTORS; ++part) total[row][part] = (floats){0};
  for (int input = 0; input < inputs; ++input) {
    // The next panel is not in the cache: it is prefetched while this one is used.
    __builtin_prefetch(ahead + (long)input * 64, 0, 2);
    floats weight[VECTORS];
#pragma GCC unroll 8
    for (int part = 0; part < VECTORS; ++part) weight[part] = load(panel + (long)input * COLUMNS + part * LANES);
#pragma GCC unroll 16
    for (int row = 0; row < count; ++row)
#pragma GCC unroll 8
      for (int part = 0; part < VECTORS; ++part) total[row][part] += weight[part] * from[(long)row * inputs + input];
  }
  settle(dense, total, first, count, to, how);
}

// Rows of bytes [rows, fours][4]; the values of a row are its lowest value plus its bytes times its step.
typedef struct {
  const int32_t *bytes;
  const float *steps, *lowest;
} Bytes;

ALWAYS void block_of_bytes(const Dense *dense, const int8_t *panel, int first, Bytes from, int count, float *to,
                           Finish how, const char *ahead) {
  integers sums[ROWS][VECTORS];
  const int fours = (dense->inputs + 3) / 4;
#pragma GCC unroll 16
  for (int row = 0; row < count; ++row)
#pragma GCC unroll 8
    for (int part = 0; part < VECTORS; ++part) sums[row][part] = (integers){0};
  for (int four = 0; four < fours; ++four) {
    __builtin_prefetch(ahead + (long)four * 64, 0, 2);
    integers weight[VECTORS];
#pragma GCC unroll 8
    for (int part = 0; part < VECTORS; ++part)
      weight[part] = *(const integers_there *)(panel + ((long)four * COLUMNS + part * LANES) * 4);
#pragma GCC unroll 16
    for (int row = 0; row < count; ++row) {
      const integers value = (integers){0} + from.bytes[(long)row * fours + four];
#pragma GCC unroll 8
      for (int part = 0; part < VECTORS; ++part) sums[row][part] = add_products(sums[row][part], value, weight[part]);
    }
  }
  floats total[ROWS][VECTORS];
#pragma GCC unroll 8
  for (int part = 0; part < VECTORS; ++part) {
    const floats all = load(dense->sums + first + part * LANES);
#pragma GCC unroll 16
    for (int row = 0; row < count; ++row)
      total[row][part] = multiplied_and_added(all, (floats){0} + from.lowest[row],
                                              as_floats(sums[row][part]) * from.steps[row]);
  }
  settle(dense, total, first, count, to, how);
}

// A block is specialised at compile time, including its number of rows.
#if ROWS > 6
#define MORE_BLOCKS(BLOCK) BLOCK(6) BLOCK(7) BLOCK(8) BLOCK(9) BLOCK(10) BLOCK(11)
#else
#define MORE_BLOCKS(BLOCK)
#endif
#define BLOCKS(BLOCK) BLOCK(1) BLOCK(2) BLOCK(3) BLOCK(4) BLOCK(5) MORE_BLOCKS(BLOCK)

static __attribute__((noinline)) void rows_by_floats(const Dense *dense, const float *panel, int first,
                                                     const float *from, int rows, float *to, Finish how) {
  const long size = (long)dense->inputs * COLUMNS * 4;
  for (int row = 0; row < rows; row += ROWS) {
    const float *some = from + (long)row * dense->inputs;
    float *there = to + (long)row * dense->outputs;
    const char *ahead = (const char *)panel + size + row / ROWS * (long)dense->inputs * 64 % size;
#define BLOCK(count) \
  case count: block_of_floats(dense, panel, first, some, count, there, how, ahead); break;
    switch (rows - row) {
      BLOCKS(BLOCK)
      default: block_of_floats(dense, panel, first, some, ROWS, there, how, ahead);
    }
#undef BLOCK
  }
}

static __attribute__((noinline)) void rows_by_bytes(const Dense *dense, const int8_t *panel, int first, Bytes from,
                                                    int rows, float *to, Finish how) {
  const int fours = (dense->inputs + 3) / 4;
  const long size = (long)fours * COLUMNS * 4;
  for (int row = 0; row < rows; row += ROWS) {
    const Bytes some = {from.bytes + (long)row * fours, from.steps + row, from.lowest + row};
    float *there = to + (long)row * dense->outputs;
    const char *ahead = (const char *)panel + size + row / ROWS * (long)fours * 64 % size;
#define BLOCK(count) \
  case count: block_of_bytes(dense, panel, first, some, count, there, how, ahead); break;
    switch (rows - row) {
      BLOCKS(BLOCK)
      default: block_of_bytes(dense, panel, first, some, ROWS, there, how, ahead);
    }
#undef BLOCK
  }
}

// Groups of four values that are quantized at once: few enough to stay in the cache, and for sums of products (255 by
// 127, four in each group) to fit in 32 bits.
#define FOURS_AT_ONCE 16384
#define ROWS_AT_ONCE 256

// Products with 8-bit weights, some rows at a time.
static void multiply_narrow(const Dense *dense, const float *from, int rows, float *to, Finish how) {
  const int inputs = dense->inputs, fours = (inputs + 3) / 4, fitting = FOURS_AT_ONCE / fours;
  const int at_once = fitting < ROWS_AT_ONCE ? fitting : ROWS_AT_ONCE;
  int32_t numbers[FOURS_AT_ONCE];
  float steps[ROWS_AT_ONCE], lowest[ROWS_AT_ONCE];
  for (; rows > 0; rows -= at_once, from += (long)at_once * inputs, to += (long)at_once * dense->outputs) {
    const int count = rows < at_once ? rows : at_once;
    for (int row = 0; row < count; ++row) {
      const float *values = from + (long)row * inputs;
      float highest;
      find_extremes(values, inputs, &lowest[row], &highest);
      const float extent = highest - lowest[row];
      numbers[(long)row * fours + fours - 1] = 0;
      as_bytes((uint8_t *)(numbers + (long)row * fours), values, lowest[row], extent > 0 ? 255 / extent : 0, inputs);
      steps[row] = extent / 255;
    }
    const Bytes read = {numbers, steps, lowest};
    for (int first = 0; first < dense->outputs; first += COLUMNS)
      rows_by_bytes(dense, (const int8_t *)dense->panels + (long)first * 4 * fours, first, read, count, to, how);
  }
}

// The largest number of inputs of 8-bit weights, and the largest weight.
int32_t most_narrow_inputs(void) { return 4 * FOURS_AT_ONCE; }
int32_t largest_weight(void) { return LARGEST_WEIGHT; }

// from [rows, inputs] -> to [rows, outputs].
static void multiply(const Dense *dense, const float *from, int rows, float *to, Finish how) {
  if (dense->scales) {
    multiply_narrow(dense, from, rows, to, how);
    return;
  }
  for (int first = 0; first < dense->outputs; first += COLUMNS)
    rows_by_floats(dense, (const float *)dense->panels + (long)first * dense->inputs, first, from, rows, to, how);
}
