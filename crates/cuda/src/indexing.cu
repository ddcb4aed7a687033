// Ops that move elements between places, one thread for each element (or each group of neighbouring
// elements, taken as one wide T where the layout allows it). Sizes and strides come in a struct; every
// index is checked, and a wrong one is reported and skipped. Define one of the names below.
struct Wide { u64 lo, hi; };
struct G { i64 v[64]; };

#ifdef ARANGE
// out[i] = start + i * step. Values are computed in double or in wrapping 64-bit integers, and
// rounded once.
template <class E> struct Series {
  static E at(u64 start, u64 step, i64 i) { return (E)(start + (u64)i * step); }
};
#define FLOATING(E) template <> struct Series<E> { \
  static E at(u64 start, u64 step, i64 i) { \
    return convert<E>(__longlong_as_double(start) + (double)i * __longlong_as_double(step)); } };
FLOATING(f16) FLOATING(bf16) FLOATING(f32) FLOATING(f64)
extern "C" __global__ void arange(T* out, u64 start, u64 step, i64 n) {
  OVERLAPS
  i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = Series<T>::at(start, step, i);
}
#endif

#ifdef GATHER
// out (I + slice) = src[s + index(i)]. G: count, slice length, slice axes, indexed axes, then for each
// slice axis (size, stride), for each indexed axis (last valid index, stride, axis, size).
extern "C" __global__ void gather(const T* src, T* out, const i64* i0, const i64* i1, const i64* i2,
                                  const i64* i3, G g, u64* fault, i64 op) {
  OVERLAPS
  i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= g.v[0]) return;
  i64 q = i / g.v[1], s = i - q * g.v[1], at = 0;
  int axes = (int)g.v[2], indexed = (int)g.v[3];
  for (int a = axes - 1; a >= 0; a--) {
    i64 n = g.v[4 + 2 * a], next = s / n;
    at += (s - next * n) * g.v[5 + 2 * a]; s = next;
  }
  const i64* lists[4] = {i0, i1, i2, i3};
  for (int a = 0; a < indexed; a++) {
    const i64* p = &g.v[4 + 2 * axes + 4 * a];
    i64 k = lists[a][q], given = k;
    if (k < 0) k += p[3];
    if (k < 0 || k > p[0]) { report(fault, (int)op, given, p[2], p[3]); return; }
    at += k * p[1];
  }
  out[i] = src[at];
}
#endif

#ifdef LANES
// A row by LANES threads, four units at a time each. What is written leaves the caches first, in which rows that
// are read more than once stay (0.97 of the time for 16384 rows of 8 kB, H100).
__forceinline__ void copy_row(const T* from, T* to, i64 units) {
  for (i64 j = threadIdx.x % LANES; j < units; j += 4 * LANES) {
    T x[4];
#pragma unroll
    for (int e = 0; e < 4; e++) if (j + e * LANES < units) x[e] = from[j + e * LANES];
#pragma unroll
    for (int e = 0; e < 4; e++) if (j + e * LANES < units) store_once(to + j + e * LANES, x[e]);
  }
}
#endif

#ifdef GATHER_ROWS
// out (rows, units) = src[list], whole rows of neighbouring units. I is the type of the indices.
extern "C" __global__ void __launch_bounds__(256) gather_rows(const T* src, T* out, const I* list, i64 rows, i64 units,
    i64 stride, i64 last, i64 size, i64 axis, u64* fault, i64 op) {
  OVERLAPS
  const i64 row = (i64)blockIdx.x * (256 / LANES) + threadIdx.x / LANES;
  if (row >= rows) return;
  i64 k = (i64)list[row], given = k;
  if (k < 0) k += size;
  if (k < 0 || k > last) { report(fault, (int)op, given, axis, size); return; }
  copy_row(src + k * stride, out + row * units, units);
}
#endif

#ifdef GATHER_AXIS
// out[i] = src[i with indices[i] along axis], for V neighbours of the last axis at once. G: count of such
// packs, axes, axis, size; for each axis (size, stride of src, stride of indices); the size of the last one
// counts packs. I is the type of the indices, N that of places.
extern "C" __global__ void __launch_bounds__(256) gather_axis(const T* src, const I* indices, T* out, G g, u64* fault, i64 op) {
  OVERLAPS
  N i = (N)((i64)blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= (N)g.v[0]) return;
  const int axes = (int)g.v[1], axis = (int)g.v[2];
  N rest = i, at = 0, from = 0;
  for (int a = axes - 1; a >= 0; a--) {
    N n = (N)g.v[4 + 3 * a], next = rest / n, p = rest - next * n;
    if (a == axes - 1) p *= V;
    if (a != axis) at += p * (N)g.v[5 + 3 * a];
    from += p * (N)g.v[6 + 3 * a]; rest = next;
  }
  const N along = axis == axes - 1 ? 0 : (N)g.v[2 + 3 * axes], step = (N)g.v[3 + 3 * axes];
  Pack<T, V> x;
#pragma unroll
  for (int e = 0; e < V; e++) {
    i64 k = (i64)indices[from + e * step], given = k;
    if (k < 0) k += g.v[3];
    if (k < 0 || k >= g.v[3]) { report(fault, (int)op, given, axis, g.v[3]); k = 0; }
    x.v[e] = src[at + e * along + (N)k * (N)g.v[5 + 3 * axis]];
  }
  *(Pack<T, V>*)(out + (i64)i * V) = x;
}
#endif

#ifdef DYNAMIC
// The part of `whole` that begins at `start` along some axes is copied to `part` (READ) or from it.
// G: count, axes, started axes; for each axis (size of the part, stride of whole, stride of part), for
// each started axis (axis, last valid start). A launch has COUNT calls.
struct Call { T* whole; T* part; const i64* start; u64* fault; i64 op; G g; };
struct Calls { Call of[COUNT]; };
extern "C" __global__ void dynamic(const __grid_constant__ Calls calls) {
  OVERLAPS
  const Call& call = calls.of[blockIdx.y];
  T* whole = call.whole; T* part = call.part; const i64* start = call.start; u64* fault = call.fault;
  const i64 op = call.op;
  const G& g = call.g;
  i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= g.v[0]) return;
  int axes = (int)g.v[1];
  i64 rest = i, at = 0, from = 0;
  for (int a = axes - 1; a >= 0; a--) {
    i64 n = g.v[3 + 3 * a], next = rest / n, p = rest - next * n;
    at += p * g.v[4 + 3 * a]; from += p * g.v[5 + 3 * a]; rest = next;
  }
  for (int s = 0; s < (int)g.v[2]; s++) {
    const i64* p = &g.v[3 + 3 * axes + 3 * s];
    i64 k = start[s], given = k;
    if (k < 0) k += p[2];
    if (k < 0 || k > p[1]) { report(fault, (int)op, given, p[0], p[2]); return; }
    at += k * g.v[4 + 3 * (int)p[0]];
  }
#ifdef READ
  part[from] = whole[at];
#else
  whole[at] = part[from];
#endif
}
#endif

#if defined(SCATTER) || defined(SCATTER_AXIS)
// Joins `x` into `*at` while others do the same: by compare and swap on the word that holds it.
template <class J> void join_into(T* at, T x) {
  const u64 address = (u64)at;
  if (sizeof(T) == 8) {
    u64* word = (u64*)at; u64 seen = *word, was;
    do { was = seen; union { u64 w; T t; } u; u.w = was; u.t = J::join(u.t, x); seen = atomicCAS(word, was, u.w); } while (seen != was);
  } else {
    u32* word = (u32*)(address & ~3ull); int shift = (int)(address & 3) * 8;
    u32 mask = sizeof(T) >= 4 ? 0xffffffffu : ((1u << (sizeof(T) % 4 * 8)) - 1) << shift, seen = *word, was;
    do {
      was = seen; union { u32 w; T t; } u; u.w = (was & mask) >> shift; u.t = J::join(u.t, x);
      seen = atomicCAS(word, was, (was & ~mask) | ((u.w << shift) & mask));
    } while (seen != was);
  }
}
struct JoinAdd { static T join(T a, T b) { return convert<T>(widen(a) + widen(b)); } };
struct JoinMultiply { static T join(T a, T b) { return convert<T>(widen(a) * widen(b)); } };
struct JoinMax { static T join(T a, T b) { return convert<T>(op_maximum(widen(a), widen(b))); } };
struct JoinMin { static T join(T a, T b) { return convert<T>(op_minimum(widen(a), widen(b))); } };

// With Set, the last update of an element wins: a first launch (MARK) notes for each element the
// greatest number of an update that goes to it, a second one writes the updates that are noted.
__forceinline__ void put(T* dst, u32* last, i64 at, i64 number, T x) {
#if defined(MARK)
  atomicMax(&last[at], (u32)number + 1);
#elif defined(SET)
  if (last[at] == (u32)number + 1) dst[at] = x;
#else
  join_into<MODE>(&dst[at], x);
#endif
}
#endif

#ifdef SCATTER_ROWS
// As SCATTER for whole rows of neighbouring units of T, LANES threads for each row. Places are numbered by
// index; where elements are replaced, `last` notes for each place the last update that goes to it.
#ifdef MARK
extern "C" __global__ void __launch_bounds__(256) mark_rows(const I* list, u32* last, i64 rows, i64 limit, i64 size,
    i64 axis, u64* fault, i64 op) {
  const i64 row = (i64)blockIdx.x * 256 + threadIdx.x;
  if (row >= rows) return;
  i64 k = (i64)list[row], given = k;
  if (k < 0) k += size;
  if (k < 0 || k > limit) { report(fault, (int)op, given, axis, size); return; }
  atomicMax(&last[k], (u32)row + 1);
}
extern "C" __global__ void __launch_bounds__(256) set_rows(T* dst, const u32* last, const T* updates, const I* list,
    i64 rows, i64 units, i64 stride, i64 limit, i64 size) {
  const i64 row = (i64)blockIdx.x * (256 / LANES) + threadIdx.x / LANES;
  if (row >= rows) return;
  i64 k = (i64)list[row];
  if (k < 0) k += size;
  if (k < 0 || k > limit || last[k] != (u32)row + 1) return;
  copy_row(updates + row * units, dst + k * stride, units);
}
#else
// Adds four words to memory at once: of float, or of pairs of a 16-bit type.
__forceinline__ void add_words(u32* at, const u32* x) {
#if __CUDA_ARCH__ >= 900
#if defined(ADD_F32)
  asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" :: "l"(at), "f"(__uint_as_float(x[0])),
               "f"(__uint_as_float(x[1])), "f"(__uint_as_float(x[2])), "f"(__uint_as_float(x[3])) : "memory");
#elif defined(ADD_F16)
  asm volatile("red.global.add.noftz.v4.f16x2 [%0], {%1, %2, %3, %4};" :: "l"(at), "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]) : "memory");
#else
  asm volatile("red.global.add.noftz.v4.bf16x2 [%0], {%1, %2, %3, %4};" :: "l"(at), "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]) : "memory");
#endif
#endif
}
extern "C" __global__ void __launch_bounds__(256) add_rows(T* dst, const T* updates, const I* list, i64 rows, i64 units,
    i64 stride, i64 limit, i64 size, i64 axis, u64* fault, i64 op) {
  const i64 row = (i64)blockIdx.x * (256 / LANES) + threadIdx.x / LANES;
  if (row >= rows) return;
  i64 k = (i64)list[row], given = k;
  if (k < 0) k += size;
  if (k < 0 || k > limit) { report(fault, (int)op, given, axis, size); return; }
  const T* from = updates + row * units;
  T* to = dst + k * stride;
  for (i64 j = threadIdx.x % LANES; j < units; j += LANES) {
    const T x = from[j];
    add_words((u32*)(to + j), (const u32*)&x);
  }
}
#endif
#endif

#ifdef PUT_ROW
// out = dst with updates at the places of indices along the last axis: a block for each row, whose last
// updates by place are found in shared memory. dst, updates and indices lie in rows of n and m.
extern "C" __global__ void __launch_bounds__(512) put_row(const T* dst, const T* updates, const I* indices, T* out,
    i64 n, i64 m, i64 axis, u64* fault, i64 op) {
  extern __shared__ __align__(16) u8 memory[];
  u32* last = (u32*)memory;
  const i64 row = blockIdx.x;
  for (int k = threadIdx.x; k < n; k += 512) last[k] = 0;
  __syncthreads();
  const I* places = indices + row * m;
#pragma unroll 4
  for (int j = threadIdx.x; j < m; j += 512) {
    i64 k = (i64)places[j], given = k;
    if (k < 0) k += n;
    if (k < 0 || k >= n) report(fault, (int)op, given, axis, n);
    else atomicMax(&last[k], (u32)j + 1);
  }
  __syncthreads();
  const T* from = updates + row * m;
  const T* old = dst + row * n;
  T* to = out + row * n;
#pragma unroll 4
  for (int k = threadIdx.x; k < n; k += 512) { u32 j = last[k]; to[k] = j ? from[j - 1] : old[k]; }
}
#endif

#ifdef SCATTER
// updates (I + slice) go to dst[s + index(i)], dst contiguous. G as in gather, of dst, then the strides of
// updates: for the position in I one (contiguous), for each slice axis one.
extern "C" __global__ void scatter(T* dst, u32* last, const T* updates, const i64* i0, const i64* i1,
                                   const i64* i2, const i64* i3, G g, u64* fault, i64 op) {
  i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= g.v[0]) return;
  i64 q = i / g.v[1], s = i - q * g.v[1], at = 0;
  int axes = (int)g.v[2], indexed = (int)g.v[3];
  for (int a = axes - 1; a >= 0; a--) {
    i64 n = g.v[4 + 2 * a], next = s / n;
    at += (s - next * n) * g.v[5 + 2 * a]; s = next;
  }
  const i64* lists[4] = {i0, i1, i2, i3};
  for (int a = 0; a < indexed; a++) {
    const i64* p = &g.v[4 + 2 * axes + 4 * a];
    i64 k = lists[a][q], given = k;
    if (k < 0) k += p[3];
    if (k < 0 || k > p[0]) { report(fault, (int)op, given, p[2], p[3]); return; }
    at += k * p[1];
  }
  put(dst, last, at, i, updates[i]);
}
#endif

#ifdef SCATTER_AXIS
// updates[i] goes to dst[i with indices[i] along axis], dst contiguous. G: count, axes, axis, size; for
// each axis (size, stride of dst). Updates and indices are contiguous.
extern "C" __global__ void scatter_axis(T* dst, u32* last, const T* updates, const i64* indices, G g,
                                        u64* fault, i64 op) {
  i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= g.v[0]) return;
  i64 rest = i, at = 0;
  for (int a = (int)g.v[1] - 1; a >= 0; a--) {
    i64 n = g.v[4 + 2 * a], next = rest / n;
    if (a != (int)g.v[2]) at += (rest - next * n) * g.v[5 + 2 * a];
    rest = next;
  }
  i64 k = indices[i], given = k;
  if (k < 0) k += g.v[3];
  if (k < 0 || k >= g.v[3]) { report(fault, (int)op, given, g.v[2], g.v[3]); return; }
  put(dst, last, at + k * g.v[5 + 2 * (int)g.v[2]], i, updates[i]);
}
#endif

#ifdef MASKED
// out[i] = src[places[i] - 1] where mask[i], for out (n), which holds the array, and src (have); places (n) is the
// running count of the mask.
extern "C" __global__ void masked(T* out, const bool* mask, const P* places, const T* src, i64 n, i64 have, u64* fault,
                                  i64 op) {
  OVERLAPS
  const i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const i64 place = places[i];
  if (i == n - 1 && place > have) report(fault, (int)op, place, 0, have);
  if (mask[i] && place <= have) out[i] = src[place - 1];
}
#endif

#ifdef RANDOM
// Words i and i + h + n % 2 of a key's n words (h = n / 2) are the halves of the hash of the counters
// (i, i + h + n % 2). One thread for V neighbouring pairs, where V divides h, which an odd n leaves at 1; keys (blocks, 2).
// I counts all pairs.
extern "C" __global__ void __launch_bounds__(256) random(const u32* keys, u32* out, i64 n, i64 streams) {
  const I half = (I)(n / 2), each = (I)(n - n / 2), packs = each / V, t = (I)blockIdx.x * 256 + threadIdx.x;
  if (t >= packs * (I)streams) return;
  const I s = streams == 1 ? 0 : t / packs, i = (t - s * packs) * V;
  const u32 k0 = keys[2 * s], k1 = keys[2 * s + 1];
  Pack<u32, V> first, second;
#pragma unroll
  for (int e = 0; e < V; e++) {
    first.v[e] = (u32)(i + e); second.v[e] = V > 1 || i < half ? (u32)(i + e + each) : 0u;
    threefry(k0, k1, first.v[e], second.v[e]);
  }
  out += (i64)s * n;
  *(Pack<u32, V>*)(out + i) = first;
  if (V > 1 || i < half) *(Pack<u32, V>*)(out + each + i) = second;
}
#endif
