// Decoding's small operations on a CPU: all that lies between two matrix products of a decoder's layer.
//
// As torch operations they are some forty calls a layer, each with its own pass over memory; here they are three. A row
// is a completion, which decodes one token. T is what products are computed in and keys and values are kept in, bfloat16
// or float; whatever lies between is float. Reductions may be summed in any order. Left out: the products themselves,
// which stay torch's, and everything that decides what is decoded (decoder.py, cache.py).

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

struct bfloat16 {
    uint16_t bits;
};

inline float widen(float value) { return value; }

inline float widen(bfloat16 value) {
    const uint32_t bits = uint32_t(value.bits) << 16;
    float wide;
    std::memcpy(&wide, &bits, sizeof wide);
    return wide;
}

inline void narrow(float value, float& out) { out = value; }

// To the nearest, ties to even. What is not a number stays so.
inline void narrow(float value, bfloat16& out) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    out.bits = value == value ? uint16_t(rounded) : uint16_t(0x7fc0);
}

template <class T>
inline float rounded(float value) {
    T narrowed;
    narrow(value, narrowed);
    return widen(narrowed);
}

// e^x for x <= 0 to 2 units in the last place: e^x = 2^n e^r with |r| <= ln 2 / 2, and r's series. Unlike the C
// library's it can be computed for a vector at a time.
inline float exponential(float x) {
    x = std::max(x, -87.0f);
    const float n = std::nearbyint(x * 1.44269504f);
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float sum = 1.0f / 5040;
    sum = sum * r + 1.0f / 720;
    sum = sum * r + 1.0f / 120;
    sum = sum * r + 1.0f / 24;
    sum = sum * r + 1.0f / 6;
    sum = sum * r + 0.5f;
    sum = sum * r + 1.0f;
    sum = sum * r + 1.0f;
    const int32_t power = (int32_t(n) + 127) << 23;
    float scale;
    std::memcpy(&scale, &power, sizeof scale);
    return sum * scale;
}

}  // namespace

// A cohort's cache (cache.py), as ctypes hands it over. Every layer has its keys, then its values.
struct Cohort {
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

// The keys, or the values, that one key head of a row attends to: pieces of contiguous columns.
template <class T>
struct Piece {
    const T* start;
    int64_t columns, ahead;
};

// The pieces of a row's keys or values, and the place of the token that is new.
template <class T>
T* gather(const Cohort& cohort, int64_t layer, int64_t which, int64_t row, int64_t head, const Heads& heads,
          std::vector<Piece<T>>& pieces) {
    const int64_t blocks = (cohort.age + cohort.block - 1) / cohort.block, problem = cohort.problem[row];
    const T* prompt = static_cast<const T*>(cohort.prompt[2 * layer + which]);
    prompt += (problem * heads.key + head) * cohort.prompt_columns * heads.width;
    pieces.clear();
    pieces.push_back({prompt, cohort.prompt_length[problem], 0});
    T* opened = nullptr;
    for (int64_t b = 0; b < blocks; b++) {
        T* own = static_cast<T*>(cohort.blocks[(2 * layer + which) * blocks + b]);
        own += (row * heads.key + head) * cohort.block * heads.width;
        const int64_t columns = std::min(cohort.block, cohort.age - b * cohort.block);
        pieces.push_back({own, columns, cohort.block * heads.width});
        opened = own + (columns - 1) * heads.width;
    }
    return opened;
}

// A head's RMS norm, if it has one, and its rotation.
template <class T, int WIDTH>
void prepare(const T* in, const float* norm, float epsilon, const float* cos, const float* sin, float* out) {
    constexpr int64_t n = WIDTH, half = n / 2;
    float values[WIDTH];
    for (int64_t d = 0; d < n; d++) values[d] = widen(in[d]);
    if (norm) {
        float squares = 0;
        for (int64_t d = 0; d < n; d++) squares += values[d] * values[d];
        const float scale = 1 / std::sqrt(squares / n + epsilon);
        for (int64_t d = 0; d < n; d++) values[d] = norm[d] * rounded<T>(values[d] * scale);
    }
    for (int64_t d = 0; d < half; d++) {
        out[d] = values[d] * cos[d] - values[d + half] * sin[d];
        out[d + half] = values[d + half] * cos[d + half] + values[d] * sin[d + half];
    }
}

// softmax in place, not yet divided by the sum, which is returned.
inline float weigh(float* scores, int64_t count) {
    float highest = scores[0], sum = 0;
    for (int64_t j = 1; j < count; j++) highest = std::max(highest, scores[j]);
    for (int64_t j = 0; j < count; j++) {
        scores[j] = exponential(scores[j] - highest);
        sum += scores[j];
    }
    return sum;
}

// A vector of floats, as long as the widest registers; the compiler cuts it where they are shorter.
constexpr int64_t LANES = 16;
typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef uint32_t Words __attribute__((vector_size(4 * LANES)));

// 2 * LANES numbers as two vectors. Of bfloat16, the first has the even ones and the second the odd: a word holds one of
// each. What is multiplied with them is put into the same order once: place() says where a number goes.
inline void load(const bfloat16* from, Floats& first, Floats& second) {
    Words words;
    std::memcpy(&words, from, sizeof words);
    const Words low = words << 16, high = words & 0xffff0000;
    std::memcpy(&first, &low, sizeof first);
    std::memcpy(&second, &high, sizeof second);
}

inline void load(const float* from, Floats& first, Floats& second) {
    std::memcpy(&first, from, sizeof first);
    std::memcpy(&second, from + LANES, sizeof second);
}

inline int64_t place(int64_t d, bfloat16) { return d / (2 * LANES) * (2 * LANES) + d % 2 * LANES + d % (2 * LANES) / 2; }
inline int64_t place(int64_t d, float) { return d; }

inline float sum_of(Floats vector) {
    float sum = 0;
    for (int64_t i = 0; i < LANES; i++) sum += vector[i];
    return sum;
}

// What the columns of some pieces weigh for QUERIES heads at once, one after another in `scores`, `stride` apart; and
// the sum of columns so weighted. Numbers of a query and of a sum lie where place() says. Meanwhile what the next unit of
// work will read, `ahead` from here in the same block, is fetched: it is nowhere near in memory.
template <class T, int WIDTH, int QUERIES>
struct Products {
    static constexpr int64_t VECTORS = WIDTH / LANES;

    static void score(const float* queries, const std::vector<Piece<T>>& pieces, float* scores, int64_t stride) {
        Floats query[QUERIES][VECTORS];
        std::memcpy(query, queries, sizeof query);
        for (const auto& piece : pieces)
            for (int64_t j = 0; j < piece.columns; j++, scores++) {
                const T* column = piece.start + j * WIDTH;
                prefetch(column + piece.ahead);
                Floats sums[QUERIES] = {};
                for (int64_t v = 0; v < VECTORS; v += 2) {
                    Floats first, second;
                    load(column + v * LANES, first, second);
                    for (int q = 0; q < QUERIES; q++) sums[q] += query[q][v] * first + query[q][v + 1] * second;
                }
                for (int q = 0; q < QUERIES; q++) scores[q * stride] = sum_of(sums[q]);
            }
    }

    static void mix(const float* weights, int64_t stride, const std::vector<Piece<T>>& pieces, float* out) {
        Floats sums[QUERIES][VECTORS] = {};
        for (const auto& piece : pieces)
            for (int64_t j = 0; j < piece.columns; j++, weights++) {
                const T* column = piece.start + j * WIDTH;
                prefetch(column + piece.ahead);
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
void attend_head(const Cohort& cohort, const Heads& heads, int64_t layer, int64_t row, int64_t head, const T* qkv,
                 const float* cos, const float* sin, T* out) {
    thread_local std::vector<Piece<T>> keys, values;
    thread_local std::vector<float> scores;
    const int64_t group = heads.query / heads.key, columns = cohort.prompt_length[cohort.problem[row]] + cohort.age;
    T* key = gather(cohort, layer, 0, row, head, heads, keys);
    T* value = gather(cohort, layer, 1, row, head, heads, values);
    float prepared[WIDTH], queries[2 * WIDTH], sums[2 * WIDTH];
    prepare<T, WIDTH>(qkv + (heads.query + head) * WIDTH, heads.key_norm, heads.epsilon, cos, sin, prepared);
    for (int64_t d = 0; d < WIDTH; d++) narrow(prepared[d], key[d]);
    std::memcpy(value, qkv + (heads.query + heads.key + head) * WIDTH, WIDTH * sizeof(T));
    scores.resize(2 * columns);
    for (int64_t first = head * group, count; first < (head + 1) * group; first += count) {
        count = std::min<int64_t>(2, (head + 1) * group - first);
        for (int64_t q = 0; q < count; q++) {
            prepare<T, WIDTH>(qkv + (first + q) * WIDTH, heads.query_norm, heads.epsilon, cos, sin, prepared);
            for (int64_t d = 0; d < WIDTH; d++)
                queries[q * WIDTH + place(d, T())] = rounded<T>(prepared[d] * heads.scaling);
        }
        (count == 2 ? Products<T, WIDTH, 2>::score : Products<T, WIDTH, 1>::score)(queries, keys, scores.data(), columns);
        float shares[2];
        for (int64_t q = 0; q < count; q++) shares[q] = 1 / weigh(scores.data() + q * columns, columns);
        (count == 2 ? Products<T, WIDTH, 2>::mix : Products<T, WIDTH, 1>::mix)(scores.data(), columns, values, sums);
        for (int64_t q = 0; q < count; q++)
            for (int64_t d = 0; d < WIDTH; d++)
                narrow(sums[q * WIDTH + place(d, T())] * shares[q], out[(first + q) * WIDTH + d]);
    }
}

template <class T, int WIDTH>
void attend_rows(const Cohort& cohort, const Heads& heads, int64_t layer, const T* qkv, const int64_t* positions,
                 const float* cos, const float* sin, T* out, int threads) {
    const int64_t in_row = (heads.query + 2 * heads.key) * WIDTH;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t unit = 0; unit < cohort.rows * heads.key; unit++) {
        const int64_t row = unit / heads.key, at = positions[row] * WIDTH;
        attend_head<T, WIDTH>(cohort, heads, layer, row, unit % heads.key, qkv + row * in_row, cos + at, sin + at,
                              out + row * heads.query * WIDTH);
    }
}

template <class T>
void attend(const Cohort& cohort, const Heads& heads, int64_t layer, const T* qkv, const int64_t* positions,
            const float* cos, const float* sin, T* out, int threads) {
    const auto with_width = heads.width == 32    ? attend_rows<T, 32>
                            : heads.width == 64  ? attend_rows<T, 64>
                            : heads.width == 96  ? attend_rows<T, 96>
                            : heads.width == 128 ? attend_rows<T, 128>
                                                 : attend_rows<T, 256>;
    with_width(cohort, heads, layer, qkv, positions, cos, sin, out, threads);
}

template <class T>
void add_norm(int64_t rows, int64_t width, float* hidden, const T* more, const float* weight, float epsilon, T* out,
              int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; row++) {
        float* x = hidden + row * width;
        if (more)
            for (int64_t d = 0; d < width; d++) x[d] += widen(more[row * width + d]);
        float squares = 0;
        for (int64_t d = 0; d < width; d++) squares += x[d] * x[d];
        const float scale = 1 / std::sqrt(squares / width + epsilon);
        for (int64_t d = 0; d < width; d++) narrow(weight[d] * (x[d] * scale), out[row * width + d]);
    }
}

template <class T>
void gate(int64_t rows, int64_t width, const T* gate_up, T* out, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; row++)
        for (int64_t d = 0; d < width; d++) {
            const float x = widen(gate_up[2 * row * width + d]), up = widen(gate_up[(2 * row + 1) * width + d]);
            const float e = exponential(-std::abs(x));  // the logistic function's, without overflow
            const float silu = rounded<T>(x * (x < 0 ? e : 1) / (1 + e));
            narrow(silu * up, out[row * width + d]);
        }
}

}  // namespace

#define FOR_EACH_TYPE(DEFINE) DEFINE(float, float32) DEFINE(bfloat16, bfloat16)

// Norms and rotates the queries and keys in `qkv` [rows, query + 2 * key heads, width], writes keys and values to the
// column that is open, attends -> `out` [rows, query heads, width]. `positions` [rows] index `cos` and `sin`.
#define DEFINE_ATTEND(T, NAME)                                                                                         \
    extern "C" void attend_##NAME(const Cohort* cohort, const Heads* heads, int64_t layer, const T* qkv,               \
                                  const int64_t* positions, const float* cos, const float* sin, T* out, int threads) { \
        attend(*cohort, *heads, layer, qkv, positions, cos, sin, out, threads);                                        \
    }
FOR_EACH_TYPE(DEFINE_ATTEND)

// Adds `more` [rows, width], if there is any, to `hidden`, and gives its RMS norm: `out`.
#define DEFINE_ADD_NORM(T, NAME)                                                                          \
    extern "C" void add_norm_##NAME(int64_t rows, int64_t width, float* hidden, const T* more,            \
                                    const float* weight, float epsilon, T* out, int threads) {            \
        add_norm(rows, width, hidden, more, weight, epsilon, out, threads);                               \
    }
FOR_EACH_TYPE(DEFINE_ADD_NORM)

// silu(gate) * up of `gate_up` [rows, 2, width] -> `out` [rows, width].
#define DEFINE_GATE(T, NAME)                                                                          \
    extern "C" void gate_##NAME(int64_t rows, int64_t width, const T* gate_up, T* out, int threads) { \
        gate(rows, width, gate_up, out, threads);                                                     \
    }
FOR_EACH_TYPE(DEFINE_GATE)
