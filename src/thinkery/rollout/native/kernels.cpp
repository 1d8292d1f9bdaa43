// Decoding's small operations on a CPU: all that lies between two matrix products of a decoder's layer.
//
// As torch operations they are some forty calls a layer, each with its own pass over memory; here they are four. A row
// is a completion, which decodes one token. T is what products are computed in and keys and values are kept in,
// bfloat16 or float; whatever lies between is float. What a row gets depends on nothing but the row. Left out: the
// products themselves, which stay torch's, and everything that decides what is decoded (decoder.py, cache.py).

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "vectors.h"

// A cohort's cache (cache.py), as ctypes hands it over. Every layer has its keys, then its values.
struct CacheView {
    int64_t rows, prompt_columns, age, block;
    const int64_t* problem;        // [rows]: which prompt a row continues
    const int64_t* prompt_length;  // [prompts]
    void* const* prompt;           // [layers][2] -> [prompts, key heads, prompt_columns, width]
    void* const* blocks;           // [layers][2][blocks] -> [rows, key heads, block, width]
};

// What a layer's attention has besides its matrices.
struct Heads {
    int64_t query, key, width;
    const float* query_norm;  // [width], or null
    const float* key_norm;
    float epsilon, scaling;
};

namespace {

// The keys, or the values, that one key head of a row attends to: spans of contiguous columns.
template <class T>
struct Span {
    const T* start;
    int64_t columns, ahead;
};

// The spans of a row's keys or values, and the place of the token that is new.
template <class T>
T* gather(const CacheView& cache, int64_t layer, int64_t which, int64_t row, int64_t head, const Heads& heads,
          std::vector<Span<T>>& spans) {
    const int64_t blocks = (cache.age + cache.block - 1) / cache.block, problem = cache.problem[row];
    const T* prompt = static_cast<const T*>(cache.prompt[2 * layer + which]);
    prompt += (problem * heads.key + head) * cache.prompt_columns * heads.width;
    spans.clear();
    spans.push_back({prompt, cache.prompt_length[problem], 0});
    T* opened = nullptr;
    for (int64_t b = 0; b < blocks; b++) {
        T* own = static_cast<T*>(cache.blocks[(2 * layer + which) * blocks + b]);
        own += (row * heads.key + head) * cache.block * heads.width;
        const int64_t columns = std::min(cache.block, cache.age - b * cache.block);
        spans.push_back({own, columns, cache.block * heads.width});
        opened = own + (columns - 1) * heads.width;
    }
    return opened;
}

// A head's RMS norm, if it has one, and its rotation.
template <class T, int WIDTH>
void prepare(const T* in, const float* norm, float epsilon, const float* cos, const float* sin, float* out) {
    constexpr int64_t half = WIDTH / 2;
    float values[WIDTH];
    for (int64_t d = 0; d < WIDTH; d++) values[d] = widen(in[d]);
    if (norm) {
        const float scale = 1 / std::sqrt(squares(values, WIDTH) / WIDTH + epsilon);
        for (int64_t d = 0; d < WIDTH; d++) values[d] = norm[d] * rounded<T>(values[d] * scale);
    }
    for (int64_t d = 0; d < half; d++) {
        out[d] = values[d] * cos[d] - values[d + half] * sin[d];
        out[d + half] = values[d + half] * cos[d + half] + values[d] * sin[d + half];
    }
}

// What the columns of some spans score for QUERIES heads at once, one after another in `scores`, `stride` apart; and
// the sum of columns so weighted. Numbers of a query and of a sum lie where place() says. Meanwhile what the next unit
// of work will read, `ahead` from here in the same block, is fetched: it is nowhere near in memory.
template <class T, int WIDTH, int QUERIES>
struct Products {
    static constexpr int64_t VECTORS = WIDTH / LANES;

    static void score(const float* queries, const std::vector<Span<T>>& spans, float* scores, int64_t stride) {
        Floats query[QUERIES][VECTORS];
        std::memcpy(query, queries, sizeof query);
        for (const auto& span : spans)
            for (int64_t j = 0; j < span.columns; j++, scores++) {
                const T* column = span.start + j * WIDTH;
                prefetch(column + span.ahead);
                Floats sums[QUERIES] = {};
                for (int64_t v = 0; v < VECTORS; v += 2) {
                    Floats first, second;
                    load(column + v * LANES, first, second);
                    for (int q = 0; q < QUERIES; q++) sums[q] += query[q][v] * first + query[q][v + 1] * second;
                }
                for (int q = 0; q < QUERIES; q++) scores[q * stride] = sum_of(sums[q]);
            }
    }

    static void mix(const float* weights, int64_t stride, const std::vector<Span<T>>& spans, float* out) {
        Floats sums[QUERIES][VECTORS] = {};
        for (const auto& span : spans)
            for (int64_t j = 0; j < span.columns; j++, weights++) {
                const T* column = span.start + j * WIDTH;
                prefetch(column + span.ahead);
                for (int64_t v = 0; v < VECTORS; v += 2) {
                    Floats first, second;
                    load(column + v * LANES, first, second);
                    for (int q = 0; q < QUERIES; q++) {
                        sums[q][v] += weights[q * stride] * first;
                        sums[q][v + 1] += weights[q * stride] * second;
                    }
                }
            }
        std::memcpy(out, sums, sizeof sums);
    }

    static void prefetch(const T* column) {
        for (int64_t d = 0; d < WIDTH; d += 64 / int64_t(sizeof(T))) __builtin_prefetch(column + d);
    }
};

// One row's query heads over one key head. `qkv` is the row's, `out` the row's.
template <class T, int WIDTH>
void attend_head(const CacheView& cache, const Heads& heads, int64_t layer, int64_t row, int64_t head, const T* qkv,
                 const float* cos, const float* sin, T* out) {
    thread_local std::vector<Span<T>> keys, values;
    thread_local std::vector<float> scores;
    const int64_t group = heads.query / heads.key, columns = cache.prompt_length[cache.problem[row]] + cache.age;
    T* key = gather(cache, layer, 0, row, head, heads, keys);
    T* value = gather(cache, layer, 1, row, head, heads, values);
    float prepared[WIDTH], queries[2 * WIDTH], sums[2 * WIDTH];
    prepare<T, WIDTH>(qkv + (heads.query + head) * WIDTH, heads.key_norm, heads.epsilon, cos, sin, prepared);
    for (int64_t d = 0; d < WIDTH; d++) narrow(prepared[d], key[d]);
    std::memcpy(value, qkv + (heads.query + heads.key + head) * WIDTH, WIDTH * sizeof(T));
    const int64_t stride = whole(columns);
    scores.resize(2 * stride);
    for (int64_t first = head * group, count; first < (head + 1) * group; first += count) {
        count = std::min<int64_t>(2, (head + 1) * group - first);
        for (int64_t q = 0; q < count; q++) {
            prepare<T, WIDTH>(qkv + (first + q) * WIDTH, heads.query_norm, heads.epsilon, cos, sin, prepared);
            for (int64_t d = 0; d < WIDTH; d++)
                queries[q * WIDTH + place(d, T())] = rounded<T>(prepared[d] * heads.scaling);
        }
        const auto score = count == 2 ? Products<T, WIDTH, 2>::score : Products<T, WIDTH, 1>::score;
        const auto mix = count == 2 ? Products<T, WIDTH, 2>::mix : Products<T, WIDTH, 1>::mix;
        score(queries, keys, scores.data(), stride);
        float shares[2], highest;
        for (int64_t q = 0; q < count; q++) {
            exponentials(scores.data() + q * stride, columns, 1, highest);
            shares[q] = 1 / total(scores.data() + q * stride, columns);
        }
        mix(scores.data(), stride, values, sums);
        for (int64_t q = 0; q < count; q++)
            for (int64_t d = 0; d < WIDTH; d++)
                narrow(sums[q * WIDTH + place(d, T())] * shares[q], out[(first + q) * WIDTH + d]);
    }
}

template <class T, int WIDTH>
void attend_rows(const CacheView& cache, const Heads& heads, int64_t layer, const T* qkv, const int64_t* positions,
                 const float* cos, const float* sin, T* out, int threads) {
    const int64_t in_row = (heads.query + 2 * heads.key) * WIDTH;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t unit = 0; unit < cache.rows * heads.key; unit++) {
        const int64_t row = unit / heads.key, at = positions[row] * WIDTH;
        attend_head<T, WIDTH>(cache, heads, layer, row, unit % heads.key, qkv + row * in_row, cos + at, sin + at,
                              out + row * heads.query * WIDTH);
    }
}

template <class T>
void attend(const CacheView& cache, const Heads& heads, int64_t layer, const T* qkv, const int64_t* positions,
            const float* cos, const float* sin, T* out, int threads) {
    const auto with_width = heads.width == 32    ? attend_rows<T, 32>
                            : heads.width == 64  ? attend_rows<T, 64>
                            : heads.width == 96  ? attend_rows<T, 96>
                            : heads.width == 128 ? attend_rows<T, 128>
                                                 : attend_rows<T, 256>;
    with_width(cache, heads, layer, qkv, positions, cos, sin, out, threads);
}

template <class T>
void add_norm(int64_t rows, int64_t width, float* hidden, const T* more, const float* weight, float epsilon, T* out,
              int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; row++) {
        float* x = hidden + row * width;
        if (more)
            for (int64_t d = 0; d < width; d++) x[d] += widen(more[row * width + d]);
        const float scale = 1 / std::sqrt(squares(x, width) / width + epsilon);
        for (int64_t d = 0; d < width; d++) narrow(weight[d] * (x[d] * scale), out[row * width + d]);
    }
}

// x * the logistic function, without overflow.
inline Floats silu(Floats x) {
    const Floats e = exponential(x < 0 ? x : -x);
    return x * (x < 0 ? e : Floats{} + 1) / (1 + e);
}

template <class T>
void gate(int64_t rows, int64_t width, const T* gate_up, T* out, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; row++)
        for (int64_t d = 0; d < width; d += 2 * LANES) {
            Floats first, second, first_up, second_up;
            load(gate_up + 2 * row * width + d, first, second);
            load(gate_up + (2 * row + 1) * width + d, first_up, second_up);
            first = rounded(silu(first), T()) * first_up;
            second = rounded(silu(second), T()) * second_up;
            store(first, second, out + row * width + d);
        }
}

// The first index at which the running sum of weights exceeds the threshold, which is below the sum of all. Sums of
// blocks are compared first; if rounding leaves no such index in the block, it is the block's last that has a weight.
inline int64_t first_above(const float* weights, const float* block_sums, int64_t count, int64_t block,
                           double threshold) {
    double running = 0;
    int64_t at = 0, last = 0;
    while ((at + 1) * block < count && running + block_sums[at] <= threshold) running += block_sums[at++];
    for (int64_t i = at * block; i < std::min(count, (at + 1) * block); i++) {
        if (weights[i] <= 0) continue;
        last = i;
        running += weights[i];
        if (running > threshold) break;
    }
    return last;
}

template <class T>
void sample(int64_t rows, int64_t count, int64_t stride, float temperature, const T* logits, const double* uniforms,
            int64_t* tokens, float* logprobs, int threads) {
    constexpr int64_t BLOCK = 4 * LANES;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; row++) {
        thread_local std::vector<float> weights, block_sums;
        const T* from = logits + row * stride;
        weights.resize(whole(count));
        block_sums.resize((count + BLOCK - 1) / BLOCK);
        for (int64_t i = 0; i < count; i++) weights[i] = widen(from[i]);
        float highest;
        exponentials(weights.data(), count, temperature, highest);
        double sum = 0;
        for (int64_t b = 0; b < int64_t(block_sums.size()); b++)
            sum += block_sums[b] = total(&weights[b * BLOCK], std::min(BLOCK, count - b * BLOCK));
        const double threshold = std::min(uniforms[row] * sum, std::nextafter(sum, 0.0));
        tokens[row] = first_above(weights.data(), block_sums.data(), count, BLOCK, threshold);
        logprobs[row] = (widen(from[tokens[row]]) - highest) / temperature - float(std::log(sum));
    }
}

}  // namespace

// What kernels.py calls, for each type. Arrays are contiguous but for `logits`, whose rows are `stride` apart.
//
// attend: norms and rotates the queries and keys in `qkv` [rows, query + 2 * key heads, width], writes keys and values
// to the open column, and attends -> `out` [rows, query heads, width]. `positions` [rows] index `cos` and `sin`.
// add_norm: adds `more` [rows, width], unless it is null, to `hidden`; `out` is its RMS norm.
// gate: silu(gate) * up of `gate_up` [rows, 2, width] -> `out` [rows, width].
// sample: a token a row of `logits` [rows, count], where the running sum of probabilities passes `uniforms` [rows] ->
// `tokens` and their log-probabilities [rows].
#define EXPORT(T, NAME)                                                                                                \
    void attend_##NAME(const CacheView* cache, const Heads* heads, int64_t layer, const T* qkv,                        \
                       const int64_t* positions, const float* cos, const float* sin, T* out, int threads) {            \
        attend(*cache, *heads, layer, qkv, positions, cos, sin, out, threads);                                         \
    }                                                                                                                  \
    void add_norm_##NAME(int64_t rows, int64_t width, float* hidden, const T* more, const float* weight,               \
                         float epsilon, T* out, int threads) {                                                         \
        add_norm(rows, width, hidden, more, weight, epsilon, out, threads);                                            \
    }                                                                                                                  \
    void gate_##NAME(int64_t rows, int64_t width, const T* gate_up, T* out, int threads) {                             \
        gate(rows, width, gate_up, out, threads);                                                                      \
    }                                                                                                                  \
    void sample_##NAME(int64_t rows, int64_t count, int64_t stride, float temperature, const T* logits,                \
                       const double* uniforms, int64_t* tokens, float* logprobs, int threads) {                        \
        sample(rows, count, stride, temperature, logits, uniforms, tokens, logprobs, threads);                         \
    }

extern "C" {
EXPORT(float, float32)
EXPORT(bfloat16, bfloat16)
}
