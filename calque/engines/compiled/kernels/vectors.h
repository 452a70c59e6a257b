// Vectors of floats of the processor's width, and operations along one row of an array.

#pragma once

#include <math.h>
#include <stdint.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif

// The size of a block of a product: rows, and vectors of columns, that are summed in registers.
#ifdef __AVX512F__
#define LANES 16
#define ROWS 12
#else
#define LANES 8
#define ROWS 6
#endif
#define VECTORS 2
#define COLUMNS (LANES * VECTORS)
// Exponentials that are only summed are written to this many values, which are overwritten.
#define SPARE 256
// The score of a masked position: its exponential is 0 relative to any other.
#define HIDDEN -1e30f
#define ALWAYS static inline __attribute__((always_inline))

typedef float floats __attribute__((vector_size(4 * LANES)));
typedef int32_t integers __attribute__((vector_size(4 * LANES)));
// Unaligned, as in arrays.
typedef floats floats_there __attribute__((aligned(4), may_alias));
typedef integers integers_there __attribute__((aligned(1), may_alias));

ALWAYS floats load(const float *from) { return *(const floats_there *)from; }
ALWAYS void store(float *to, floats values) { *(floats_there *)to = values; }

ALWAYS floats as_floats(integers values) {
#if defined __AVX512F__
  return (floats)_mm512_cvtepi32_ps((__m512i)values);
#elif defined __AVX2__
  return (floats)_mm256_cvtepi32_ps((__m256i)values);
#else
  floats made;
  for (int lane = 0; lane < LANES; ++lane) made[lane] = (float)values[lane];
  return made;
#endif
}

// left * right + added, rounded once. The compiler would fuse some of these operations and not others, and the result
// of a row would depend on the number of rows.
ALWAYS floats multiplied_and_added(floats left, floats right, floats added) {
#if defined __AVX512F__
  return (floats)_mm512_fmadd_ps((__m512)left, (__m512)right, (__m512)added);
#elif defined __AVX2__ && defined __FMA__
  return (floats)_mm256_fmadd_ps((__m256)left, (__m256)right, (__m256)added);
#else
  return left * right + added;
#endif
}

// The largest absolute value of 8-bit weights. Without instructions for sums of four products (VNNI), two products are
// first summed in 16 bits, which is enough for two products of 255 with 7 bits, but not with 8 bits.
#if defined __AVX512BW__ && !defined __AVX512VNNI__
#define LARGEST_WEIGHT 63
#elif defined __AVX2__ && !defined __AVX512F__ && !defined __AVXVNNI__
#define LARGEST_WEIGHT 63
#else
#define LARGEST_WEIGHT 127
#endif

// Add to each lane the sum of four products of unsigned bytes of `values` with signed bytes of `weights`.
ALWAYS integers add_products(integers total, integers values, integers weights) {
#if defined __AVX512VNNI__
  return (integers)_mm512_dpbusd_epi32((__m512i)total, (__m512i)values, (__m512i)weights);
#elif defined __AVX512BW__
  const __m512i halves = _mm512_maddubs_epi16((__m512i)values, (__m512i)weights);
  return total + (integers)_mm512_madd_epi16(halves, _mm512_set1_epi16(1));
#elif defined __AVXVNNI__ && !defined __AVX512F__
  return (integers)_mm256_dpbusd_avx_epi32((__m256i)total, (__m256i)values, (__m256i)weights);
#elif defined __AVX2__ && !defined __AVX512F__
  const __m256i halves = _mm256_maddubs_epi16((__m256i)values, (__m256i)weights);
  return total + (integers)_mm256_madd_epi16(halves, _mm256_set1_epi16(1));
#else
  for (int byte = 0; byte < 4; ++byte) total += (values >> 8 * byte & 255) * (weights << (24 - 8 * byte) >> 24);
  return total;
#endif
}

ALWAYS float across(floats values) {
#ifdef __AVX512F__
  return _mm512_reduce_add_ps((__m512)values);
#endif
  float total = 0;
  for (int lane = 0; lane < LANES; ++lane) total += values[lane];
  return total;
}

// The larger of each pair; the right one if one of them is NaN.
ALWAYS floats larger(floats left, floats right) {
#if defined __AVX512F__
  return (floats)_mm512_max_ps((__m512)left, (__m512)right);
#elif defined __AVX2__
  return (floats)_mm256_max_ps((__m256)left, (__m256)right);
#endif
  const integers is_left = left > right;
  return (floats)(((integers)left & is_left) | ((integers)right & ~is_left));
}

ALWAYS int any(integers is_so) {
#ifdef __AVX512F__
  return _mm512_test_epi32_mask((__m512i)is_so, (__m512i)is_so) != 0;
#elif defined __AVX2__
  return !_mm256_testz_si256((__m256i)is_so, (__m256i)is_so);
#endif
  for (int lane = 0; lane < LANES; ++lane)
    if (is_so[lane]) return 1;
  return 0;
}

static float dot(const float *left, const float *right, int count) {
  floats total = {0};
  int at = 0;
  for (; at + LANES <= count; at += LANES) total += load(left + at) * load(right + at);
  float rest = 0;
  for (; at < count; ++at) rest += left[at] * right[at];
  return across(total) + rest;
}

static float sum(const float *values, int count) {
  floats total = {0};
  int at = 0;
  for (; at + LANES <= count; at += LANES) total += load(values + at);
  float rest = 0;
  for (; at < count; ++at) rest += values[at];
  return across(total) + rest;
}

// Write the sums of four vectors.
ALWAYS void across_four(const floats *values, float *to) {
#if defined __AVX2__ && !defined __AVX512F__
  const __m256 pairs = _mm256_hadd_ps((__m256)values[0], (__m256)values[1]);
  const __m256 fours = _mm256_hadd_ps(pairs, _mm256_hadd_ps((__m256)values[2], (__m256)values[3]));
  _mm_storeu_ps(to, _mm_add_ps(_mm256_castps256_ps128(fours), _mm256_extractf128_ps(fours, 1)));
#else
  for (int number = 0; number < 4; ++number) to[number] = across(values[number]);
#endif
}

// Adding 1.5 * 2^23 rounds to an integer, which is then in the low bits.
#define ROUNDING 12582912.0f

// exp as 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2] (as in Cephes), to 2 units in the last place.
ALWAYS floats exponential(floats x) {
  const floats low = (floats){0} - 87.0f;
  integers below = x < low;
  x = (floats)(((integers)low & below) | ((integers)x & ~below));
  floats shifted = x * 1.44269504f + ROUNDING;
  floats whole = shifted - ROUNDING;
  floats rest = x - whole * 0.693359375f + whole * 2.12194440e-4f;
  floats value = rest * 1.9875691500e-4f + 1.3981999507e-3f;
  value = value * rest + 8.3334519073e-3f;
  value = value * rest + 4.1665795894e-2f;
  value = value * rest + 1.6666665459e-1f;
  value = value * rest + 5.0000001201e-1f;
  value = value * rest * rest + rest + 1.0f;
  integers power = ((integers)shifted << 23) + 0x3f800000;
  return value * (floats)power;
}

static float highest(const float *values, int count) {
  float best = values[0];
  int at = 0;
  if (count >= LANES) {
    floats most = load(values);
    for (at = LANES; at + LANES <= count; at += LANES) most = larger(load(values + at), most);
    for (int lane = 0; lane < LANES; ++lane) best = most[lane] > best ? most[lane] : best;
  }
  for (; at < count; ++at) best = values[at] > best ? values[at] : best;
  return best;
}

// Find the lowest and the highest value; both are NaN if one of the values is NaN or infinite.
static void find_extremes(const float *values, int count, float *lowest, float *highest) {
  float low = values[0], high = values[0], strange = 0;
  int at = 0;
  if (count >= LANES) {
    floats least = load(values), most = least, odd = least * 0.0f;
    for (at = LANES; at + LANES <= count; at += LANES) {
      const floats some = load(values + at);
      least = -larger(-some, -least);
      most = larger(some, most);
      odd += some * 0.0f;
    }
    strange = across(odd);
    for (int lane = 0; lane < LANES; ++lane) {
      low = least[lane] < low ? least[lane] : low;
      high = most[lane] > high ? most[lane] : high;
    }
  }
  for (; at < count; ++at) {
    low = values[at] < low ? values[at] : low;
    high = values[at] > high ? values[at] : high;
    strange += values[at] * 0.0f;
  }
  *lowest = low + strange;
  *highest = high + strange;
}

ALWAYS void store_low_bytes(uint8_t *to, integers values) {
#if defined __AVX512F__
  _mm_storeu_si128((__m128i *)to, _mm512_cvtepi32_epi8((__m512i)values));
#elif defined __AVX2__
  const __m256i first = _mm256_set1_epi32(0x0c080400), fours = _mm256_shuffle_epi8((__m256i)values, first);
  const __m128i halves = _mm_unpacklo_epi32(_mm256_castsi256_si128(fours), _mm256_extracti128_si256(fours, 1));
  _mm_storel_epi64((__m128i *)to, halves);
#else
  for (int lane = 0; lane < LANES; ++lane) to[lane] = (uint8_t)values[lane];
#endif
}

// Write (values - base) * factor, between 0 and 255, as bytes.
static void as_bytes(uint8_t *to, const float *values, float base, float factor, int count) {
  int at = 0;
  for (; at + LANES <= count; at += LANES) {
    const integers bits = (integers)((load(values + at) - base) * factor + ROUNDING);
    store_low_bytes(to + at, bits);
  }
  for (; at < count; ++at) to[at] = (uint8_t)rintf((values[at] - base) * factor);
}

// Write exp(values - shift) to `to`, and return the sum.
static float exponentials(float *to, const float *values, float shift, int count) {
  floats total = {0};
  int at = 0;
  for (; at + LANES <= count; at += LANES) {
    floats power = exponential(load(values + at) - shift);
    store(to + at, power);
    total += power;
  }
  float rest = 0;
  for (; at < count; ++at) {
    to[at] = expf(values[at] - shift);
    rest += to[at];
  }
  return across(total) + rest;
}

// Return the logarithm of the sum of exponentials.
static float log_sum(const float *scores, int count) {
  float spare[SPARE], most = highest(scores, count), total = 0;
  // In parts, so that the unused output stays in the cache.
  for (int at = 0; at < count; at += SPARE)
    total += exponentials(spare, scores + at, most, count - at < SPARE ? count - at : SPARE);
  return most + logf(total);
}
