// Numbers of two types, and vectors of them: what the kernels compute with.
//
// Written with the vector types that GCC and Clang share, so one text serves every processor. Left out: other
// compilers.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

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

// A vector of floats, as long as the processor's registers. Sums are vectors until their end, so their order depends on
// nothing but the length, not on where in memory the numbers lie.
#if defined(__AVX512F__)
constexpr int64_t LANES = 16;
#elif defined(__AVX__)
constexpr int64_t LANES = 8;
#else
constexpr int64_t LANES = 4;
#endif
typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef int32_t Words __attribute__((vector_size(4 * LANES)));
typedef uint32_t Bits __attribute__((vector_size(4 * LANES)));

inline Floats load(const float* from) {
    Floats vector;
    std::memcpy(&vector, from, sizeof vector);
    return vector;
}

inline void store(Floats vector, float* to) { std::memcpy(to, &vector, sizeof vector); }

// 2 * LANES numbers as two vectors. Of bfloat16, the first has the even ones and the second the odd: a word holds one
// of each. place() says where a number goes that is to meet them.
inline void load(const bfloat16* from, Floats& first, Floats& second) {
    Bits words;
    std::memcpy(&words, from, sizeof words);
    const Bits low = words << 16, high = words & 0xffff0000;
    std::memcpy(&first, &low, sizeof first);
    std::memcpy(&second, &high, sizeof second);
}

inline void load(const float* from, Floats& first, Floats& second) {
    first = load(from);
    second = load(from + LANES);
}

inline int64_t place(int64_t d, bfloat16) {
    const int64_t inside = d % (2 * LANES);
    return d - inside + inside % 2 * LANES + inside / 2;
}

inline int64_t place(int64_t d, float) { return d; }

// As narrow() does it, in the upper halves of words.
inline Bits narrowed(Floats value) {
    Bits bits;
    std::memcpy(&bits, &value, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
    return value == value ? bits : Bits{} + 0x7fc00000;
}

inline Floats rounded(Floats value, bfloat16) {
    const Bits bits = narrowed(value);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline Floats rounded(Floats value, float) { return value; }

inline void store(Floats first, Floats second, bfloat16* to) {
    const Bits words = narrowed(first) >> 16 | narrowed(second);
    std::memcpy(to, &words, sizeof words);
}

inline void store(Floats first, Floats second, float* to) {
    store(first, to);
    store(second, to + LANES);
}

// Halves are combined until one number is left.
template <int64_t COUNT, class Combine>
inline float fold(const float* values, Combine combine) {
    if constexpr (COUNT == 2) {
        return combine(values[0], values[1]);
    } else {
        typedef float Half __attribute__((vector_size(2 * COUNT)));
        Half low, high;
        std::memcpy(&low, values, sizeof low);
        std::memcpy(&high, values + COUNT / 2, sizeof high);
        low = combine(low, high);
        return fold<COUNT / 2>(reinterpret_cast<const float*>(&low), combine);
    }
}

inline float sum_of(Floats vector) {
    return fold<LANES>(reinterpret_cast<const float*>(&vector), [](auto a, auto b) { return a + b; });
}

inline float highest_of(Floats vector) {
    return fold<LANES>(reinterpret_cast<const float*>(&vector), [](auto a, auto b) { return a > b ? a : b; });
}

// `count` up to whole vectors. Rows of a model's numbers are that long as they are.
inline int64_t whole(int64_t count) { return (count + LANES - 1) / LANES * LANES; }

// e^x for x <= 0 to 2 units in the last place, and 0 below the smallest normal number: e^x = 2^n e^r with
// |r| <= ln 2 / 2, and r's series.
inline Floats exponential(Floats x) {
    const Floats lowest = Floats{} - 87.0f, bounded = x < lowest ? lowest : x;
    const Words power = __builtin_convertvector(bounded * 1.44269504f - 0.5f, Words);  // cut off, so rounded
    const Floats n = __builtin_convertvector(power, Floats);
    const Floats r = (bounded - n * 0.693359375f) + n * 2.12194440e-4f;
    Floats sum = r * (1.0f / 5040) + 1.0f / 720;
    sum = sum * r + 1.0f / 120;
    sum = sum * r + 1.0f / 24;
    sum = sum * r + 1.0f / 6;
    sum = sum * r + 0.5f;
    sum = sum * r + 1.0f;
    sum = sum * r + 1.0f;
    const Words bits = (power + 127) << 23;
    Floats scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return x < lowest ? Floats{} : sum * scale;
}

inline float total(const float* values, int64_t count) {
    Floats sums = {};
    for (int64_t i = 0; i < count; i += LANES) sums += load(values + i);
    return sum_of(sums);
}

inline float squares(const float* values, int64_t count) {
    Floats sums = {};
    for (int64_t i = 0; i < count; i += LANES) sums += load(values + i) * load(values + i);
    return sum_of(sums);
}

// Scores, `count` of them and room up to whole vectors -> e^((score - the highest) / temperature); sets the highest.
inline void exponentials(float* scores, int64_t count, float temperature, float& highest) {
    std::fill(scores + count, scores + whole(count), -INFINITY);
    Floats most = load(scores);
    for (int64_t i = LANES; i < count; i += LANES) {
        const Floats more = load(scores + i);
        most = most > more ? most : more;
    }
    highest = highest_of(most);
    for (int64_t i = 0; i < count; i += LANES)
        store(exponential((load(scores + i) - highest) / temperature), scores + i);
}

}  // namespace

