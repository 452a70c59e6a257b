// A Transformer's encoder as a whole, and one step of its decoder for R rows, each in one call.
//
// Compiled on the machine that runs it, for its vector instructions. The caller owns every array, except small ones on
// the stack. The result of a row depends only on that row, so an answer does not depend on its batch.

#pragma once

#include "attention.h"
#include "products.h"

enum { NO_NORM, LAYER_NORM, RMS_NORM };
enum { SELF_ATTENTION, SSRU };

typedef struct {
  int32_t kind;
  float epsilon;
  const float *weight, *bias;
} Norm;

// The mixer of the positions of a side, and the feed-forward network. `read_own` computes queries, keys and values side
// by side, or the forget gate and the new value of an SSRU. The other fields are a decoder's.
typedef struct {
  Norm own_norm, memory_norm, units_norm;
  Dense read_own, write_own, read_memory, query, write_memory, inner, gate, outer;
} Layer;

typedef struct {
  int32_t layers, width, heads, groups, head_width, units, function, gated, norm_before, mixer;
  float embedding_scale;
  const float *table;
  Norm embedding_norm, last_norm;
  Dense head;
  const Layer *layer;
} Stack;

// The input of a step: tokens [R]; `born` [R], the step at which each row began, or NULL if all began at step 0, so
// that the position of a row is time - born; for each position a vector [D], and the cosines and sines [head_width]
// that rotate queries and keys, or NULL; for each row its ancestor at each earlier step [R, time]; the outputs of
// `read_own` at each earlier step [layers, R then, ..], or the cells of an SSRU [layers, R then, D], with that R; the
// sentence of each row; keys and values of the memory [layers, B, positions, 2 * groups * head_width] and its mask [B,
// positions].
typedef struct {
  int32_t rows, time, sentences, places;
  const int64_t *tokens;
  const int32_t *born;
  const float *position, *turn;
  const int32_t *ancestors;
  float *const *blocks;
  const int32_t *block_rows;
  const int32_t *sentence;
  const float *memory;
  const uint8_t *mask;
  float *log_probs;
  float *room;
} Step;

static int born(const Step *step, int row) { return step->born ? step->born[row] : 0; }

// --- layers --------------------------------------------------------------------------------------------------------

static const Finish PLAIN = {NO_FUNCTION, 0}, ADDED = {NO_FUNCTION, 1};

static void norm_rows(const Norm *norm, const float *from, int rows, int width, float *to) {
  for (int row = 0; row < rows; ++row, from += width, to += width) {
    float mean = norm->kind == LAYER_NORM ? sum(from, width) / width : 0;
    for (int at = 0; at < width; ++at) to[at] = from[at] - mean;
    float scale = 1 / sqrtf(dot(to, to, width) / width + norm->epsilon);
    for (int at = 0; at < width; ++at) to[at] = to[at] * scale * norm->weight[at] + norm->bias[at];
  }
}

// Return the input of a sublayer: `values` normalised into `room`, or unchanged.
static const float *before(const Stack *stack, const Norm *norm, const float *values, int rows, float *room) {
  if (!stack->norm_before) return values;
  norm_rows(norm, values, rows, stack->width, room);
  return room;
}

static void after(const Stack *stack, const Norm *norm, float *values, int rows) {
  if (!stack->norm_before) norm_rows(norm, values, rows, stack->width, values);
}

// Scratch memory, in floats; the caller allocates as much as `room_needed` returns.
typedef struct {
  float *values, *normed, *mixed, *query, *units, *gate, *forgets, *scores;
} Room;

static long mixed_width(const Stack *stack) { return (long)stack->heads * stack->head_width; }

int64_t room_needed(const Stack *stack, int32_t rows, int32_t places) {
  long each = 4L * stack->width + 2 * mixed_width(stack) + 2L * stack->units;
  return rows * each + places + LANES;
}

static Room divided(const Stack *stack, int rows, float *room) {
  Room parts;
  parts.values = room;
  parts.normed = parts.values + (long)rows * stack->width;
  parts.mixed = parts.normed + (long)rows * stack->width;
  parts.query = parts.mixed + rows * mixed_width(stack);
  parts.units = parts.query + rows * mixed_width(stack);
  parts.gate = parts.units + (long)rows * stack->units;
  parts.forgets = parts.gate + (long)rows * stack->units;
  parts.scores = parts.forgets + 2L * rows * stack->width;
  return parts;
}

static void feed_forward(const Stack *stack, const Layer *layer, int rows, Room *room) {
  const float *given = before(stack, &layer->units_norm, room->values, rows, room->normed);
  multiply(&layer->inner, given, rows, room->units, (Finish){stack->function, 0});
  if (stack->gated) {
    multiply(&layer->gate, given, rows, room->gate, PLAIN);
    for (long at = 0; at < (long)rows * stack->units; ++at) room->units[at] *= room->gate[at];
  }
  multiply(&layer->outer, room->units, rows, room->values, ADDED);
  after(stack, &layer->units_norm, room->values, rows);
}

// Attend from one row to `count` positions with all heads; the result is [heads * head_width]. A position begins with
// its keys, followed by its values.
static void mix(const Stack *stack, const float *queries, const float *const *places, int count, float *scores,
                float *mixed) {
  const int deep = stack->head_width, shared = stack->heads / stack->groups;
  for (int head = 0; head < stack->heads; ++head) {
    const long keys = (long)(head / shared) * deep, values = keys + (long)stack->groups * deep;
    meet(queries + head * deep, places, keys, count, deep, scores);
    gather(scores, weigh(scores, count), places, values, count, deep, mixed + head * deep);
  }
}

// Embed one token at a position with the vector `place` [D].
static void embed(const Stack *stack, int64_t token, const float *place, float *to) {
  const float *vector = stack->table + token * stack->width;
  for (int at = 0; at < stack->width; ++at) to[at] = vector[at] * stack->embedding_scale + place[at];
  if (stack->embedding_norm.kind) norm_rows(&stack->embedding_norm, to, 1, stack->width, to);
}

// Rotate queries and keys of one row (Su et al. 2021): value i of the first half of a head is paired with value i of
// the second half. `turn` is NULL for other kinds of positions.
static void turn_heads(const Stack *stack, float *values, const float *turn) {
  const int deep = stack->head_width, half = deep / 2, count = turn ? stack->heads + stack->groups : 0;
  for (int head = 0; head < count; ++head, values += deep) {
    for (int at = 0; at < half; ++at) {
      const float first = values[at], second = values[half + at], cosine = turn[at], sine = turn[half + at];
      values[at] = first * cosine - second * sine;
      values[half + at] = second * cosine + first * sine;
    }
  }
}

// --- the step ------------------------------------------------------------------------------------------------------

static void look_back(const Stack *stack, const Step *step, int number, Room *room) {
  const Layer *layer = stack->layer + number;
  const int rows = step->rows, time = step->time;
  const long queries = mixed_width(stack), read = queries + 2L * stack->groups * stack->head_width;
  float *own = step->blocks[time] + number * rows * read;
  const float *given = before(stack, &layer->own_norm, room->values, rows, room->normed);
  multiply(&layer->read_own, given, rows, own, PLAIN);
  const float *places[time + 1];
  for (int row = 0; row < rows; ++row) {
    const int32_t *grown = step->ancestors + (long)row * time;
    const int first = born(step, row);
    for (int then = first; then < time; ++then)
      places[then] = step->blocks[then] + (number * (long)step->block_rows[then] + grown[then]) * read + queries;
    turn_heads(stack, own + row * read, step->turn ? step->turn + (long)(time - first) * stack->head_width : 0);
    places[time] = own + row * read + queries;
    mix(stack, own + row * read, places + first, time + 1 - first, room->scores, room->mixed + row * queries);
  }
  multiply(&layer->write_own, room->mixed, rows, room->values, ADDED);
  after(stack, &layer->own_norm, room->values, rows);
}

// The SSRU (Kim et al. 2019): a cell of one vector per row, in which a gate replaces a part by the new value.
static void remember(const Stack *stack, const Step *step, int number, Room *room) {
  const Layer *layer = stack->layer + number;
  const int rows = step->rows, time = step->time, width = stack->width;
  const float *given = before(stack, &layer->own_norm, room->values, rows, room->normed);
  multiply(&layer->read_own, given, rows, room->forgets, PLAIN);
  for (int row = 0; row < rows; ++row) {
    const float *forget = room->forgets + 2L * row * width, *new = forget + width;
    float *cell = step->blocks[time] + ((long)number * rows + row) * width, *values = room->values + (long)row * width;
    const float *last = 0;
    if (time > born(step, row)) {
      const int grown = step->ancestors[(long)row * time + time - 1];
      last = step->blocks[time - 1] + ((long)number * step->block_rows[time - 1] + grown) * width;
    }
    for (int at = 0; at < width; ++at) {
      const float kept = 1 / (1 + expf(-forget[at]));
      cell[at] = new[at] + kept * ((last ? last[at] : 0) - new[at]);
      values[at] += cell[at] > 0 ? cell[at] : 0;
    }
  }
  after(stack, &layer->own_norm, room->values, rows);
}

static void look_over(const Stack *stack, const Step *step, int number, Room *room) {
  const Layer *layer = stack->layer + number;
  const int rows = step->rows, places = step->places;
  const long read = layer->read_memory.outputs, queries = mixed_width(stack);
  const float *found[places];
  const float *given = before(stack, &layer->memory_norm, room->values, rows, room->normed);
  multiply(&layer->query, given, rows, room->query, PLAIN);
  for (int row = 0; row < rows; ++row) {
    const int sentence = step->sentence[row];
    const float *memory = step->memory + ((long)number * step->sentences + sentence) * places * read;
    const int count = find_places(memory, read, places, step->mask + (long)sentence * places, found);
    mix(stack, room->query + row * queries, found, count, room->scores, room->mixed + row * queries);
  }
  multiply(&layer->write_memory, room->mixed, rows, room->values, ADDED);
  after(stack, &layer->memory_norm, room->values, rows);
}

// Write the logits of each row to `step->log_probs`.
static void score(const Stack *stack, const Step *step) {
  Room room = divided(stack, step->rows, step->room);
  for (int row = 0; row < step->rows; ++row) {
    const float *place = step->position + (long)(step->time - born(step, row)) * stack->width;
    embed(stack, step->tokens[row], place, room.values + (long)row * stack->width);
  }
  for (int number = 0; number < stack->layers; ++number) {
    if (stack->mixer == SSRU) remember(stack, step, number, &room);
    else look_back(stack, step, number, &room);
    look_over(stack, step, number, &room);
    feed_forward(stack, stack->layer + number, step->rows, &room);
  }
  const float *last = room.values;
  if (stack->last_norm.kind) {
    norm_rows(&stack->last_norm, room.values, step->rows, stack->width, room.normed);
    last = room.normed;
  }
  multiply(&stack->head, last, step->rows, step->log_probs, PLAIN);
}

// --- the encoder ---------------------------------------------------------------------------------------------------

// Encode tokens [sentences, places] with `positions` [places, D], rotated by `turns` [places, head_width] unless NULL,
// and `mask` [sentences, places], and write the memory [sentences, places, D]; `own` has room for the outputs of
// `read_own` of one layer.
void encode(const Stack *stack, int32_t sentences, int32_t places, const int64_t *tokens, const float *positions,
            const float *turns, const uint8_t *mask, float *memory, float *own, float *scratch) {
  const int rows = sentences * places;
  const long queries = mixed_width(stack);
  const float *found[places];
  int count = 0;
  Room room = divided(stack, rows, scratch);
  for (long row = 0; row < rows; ++row)
    embed(stack, tokens[row], positions + row % places * stack->width, room.values + row * stack->width);
  for (int number = 0; number < stack->layers; ++number) {
    const Layer *layer = stack->layer + number;
    const long read = layer->read_own.outputs;
    const float *given = before(stack, &layer->own_norm, room.values, rows, room.normed);
    multiply(&layer->read_own, given, rows, own, PLAIN);
    for (int row = 0; row < rows; ++row)
      turn_heads(stack, own + row * read, turns ? turns + (long)(row % places) * stack->head_width : 0);
    for (int row = 0; row < rows; ++row) {
      const long first = row / places * places;
      if (row == first) count = find_places(own + first * read + queries, read, places, mask + first, found);
      mix(stack, own + row * read, found, count, room.scores, room.mixed + row * queries);
    }
    multiply(&layer->write_own, room.mixed, rows, room.values, ADDED);
    after(stack, &layer->own_norm, room.values, rows);
    feed_forward(stack, layer, rows, &room);
  }
  if (stack->last_norm.kind) norm_rows(&stack->last_norm, room.values, rows, stack->width, memory);
  else
    for (long at = 0; at < (long)rows * stack->width; ++at) memory[at] = room.values[at];
}

// Project a memory [rows, memory width] to keys and values [layers, rows, 2 * groups * head_width].
void read_memory(const Stack *stack, int32_t rows, const float *memory, float *to) {
  for (int number = 0; number < stack->layers; ++number) {
    const Dense *dense = &stack->layer[number].read_memory;
    multiply(dense, memory, rows, to + (long)number * rows * dense->outputs, PLAIN);
  }
}
