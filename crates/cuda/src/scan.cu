// Running reductions and the places of extremes along one axis of a strided array. A row is the elements
// that differ along that axis only; a block owns a row, or with PARTS a part of it. T is the element
// type, R the reduction (of the prelude). G: rows, length, stride of x, stride of out, length of a part,
// parts, kept axes, unused, inclusive, then for each kept axis (size, stride of x, stride of out).
typedef Compute<T>::type A;
struct G { i64 v[64]; };

__forceinline__ void place(const G& g, i64 row, i64& from, i64& to) {
  from = to = 0;
  for (int a = (int)g.v[6] - 1; a >= 0; a--) {
    i64 n = g.v[9 + 3 * a], next = row / n, p = row - next * n;
    from += p * g.v[10 + 3 * a]; to += p * g.v[11 + 3 * a]; row = next;
  }
}

#ifdef SCAN
// Threads take EACH neighbours at a time, in one pass 16 bytes of them. With UNIT all rows and parts begin at multiples of EACH, whose
// elements lie side by side in both arrays.
#ifdef ONCE
#define EACH (sizeof(T) < 4 ? 8 : 4)
#else
#define EACH 8
#endif
#ifdef REVERSE
#define BACK 1
#else
#define BACK 0
#endif
#define TURN (256 * EACH)

// Elements j, j + 1, ... in the order of the scan, as far as `end`.
__forceinline__ void fetch(const T* x, i64 j, i64 end, const G& g, A* v) {
#ifdef UNIT
  if (j >= end) { for (int e = 0; e < EACH; e++) v[e] = R<A>::start(); return; }
  const Pack<T, EACH> p = *(const Pack<T, EACH>*)(x + (BACK ? g.v[1] - EACH - j : j));
#pragma unroll
  for (int e = 0; e < EACH; e++) v[e] = widen(p.v[BACK ? EACH - 1 - e : e]);
#else
#pragma unroll
  for (int e = 0; e < EACH; e++) {
    i64 k = BACK ? g.v[1] - 1 - j - e : j + e;
    v[e] = j + e < end ? A(widen(x[k * g.v[2]])) : R<A>::start();
  }
#endif
}
__forceinline__ void store(T* out, i64 j, i64 end, const G& g, const A* v) {
#ifdef UNIT
  if (j >= end) return;
  Pack<T, EACH> p;
#pragma unroll
  for (int e = 0; e < EACH; e++) p.v[e] = convert<T>(BACK ? v[EACH - 1 - e] : v[e]);
  *(Pack<T, EACH>*)(out + (BACK ? g.v[1] - EACH - j : j)) = p;
#else
#pragma unroll
  for (int e = 0; e < EACH; e++) {
    i64 k = BACK ? g.v[1] - 1 - j - e : j + e;
    if (j + e < end) out[k * g.v[3]] = convert<T>(v[e]);
  }
#endif
}

// The join of each part of a row: totals (rows, parts).
extern "C" __global__ void __launch_bounds__(256) part_totals(const T* x, A* totals, G g) {
  i64 row = blockIdx.x, part = blockIdx.y, from, to;
  place(g, row, from, to);
  i64 begin = part * g.v[4], end = begin + g.v[4] < g.v[1] ? begin + g.v[4] : g.v[1];
  A sum = R<A>::start();
#pragma unroll 2
  for (i64 j = begin + threadIdx.x * EACH; j < end; j += TURN) {
    A v[EACH];
    fetch(x + from, j, end, g, v);
#pragma unroll
    for (int e = 0; e < EACH; e++) sum = R<A>::join(sum, v[e]);
  }
  sum = block_join<R<A>>(sum);
  if (threadIdx.x == 0) totals[row * g.v[5] + part] = sum;
}

// The running join, from what earlier parts left.
extern "C" __global__ void __launch_bounds__(256) scan(const T* x, T* out, const A* totals, G g) {
  __shared__ A ends[2][8];
  i64 row = blockIdx.x, part = blockIdx.y, from, to;
  place(g, row, from, to);
  i64 begin = part * g.v[4], end = begin + g.v[4] < g.v[1] ? begin + g.v[4] : g.v[1];
  A carry = R<A>::start();
  if (totals) {
    for (i64 p = threadIdx.x; p < part; p += 256) carry = R<A>::join(carry, totals[row * g.v[5] + p]);
    carry = block_join<R<A>>(carry);
  }
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, turn = 0;
  for (i64 base = begin; base < end; base += TURN, turn ^= 1) {
    const i64 j = base + threadIdx.x * EACH;
    A v[EACH], own[EACH];
    fetch(x + from, j, end, g, own);
    v[0] = own[0];
#pragma unroll
    for (int e = 1; e < EACH; e++) v[e] = R<A>::join(v[e - 1], own[e]);
    A sum = v[EACH - 1];
    for (int d = 1; d < 32; d <<= 1) {
      A left = shuffle_up(sum, d);
      if (lane >= d) sum = R<A>::join(left, sum);
    }
    A before = shuffle_up(sum, 1);
    if (lane == 31) ends[turn][warp] = sum;
    __syncthreads();
    A offset = carry;
#pragma unroll
    for (int w = 0; w < 8; w++) {
      if (w < warp) offset = R<A>::join(offset, ends[turn][w]);
      carry = R<A>::join(carry, ends[turn][w]);
    }
    if (lane > 0) offset = R<A>::join(offset, before);
    if (!g.v[8]) {
#pragma unroll
      for (int e = EACH - 1; e > 0; e--) v[e] = v[e - 1];
    }
#pragma unroll
    for (int e = 0; e < EACH; e++) v[e] = e == 0 && !g.v[8] ? offset : R<A>::join(offset, v[e]);
    store(out + to, j, end, g, v);
  }
}

#ifdef ONCE
// The running join of long rows in one pass, for joins of 32 bits. Blocks take parts of 2^14 elements in the
// order in which they begin. Each leaves the join of its own part, and waits for those of the parts before it in its
// group of GROUP and for that of all groups before, which the last part of a group leaves: what joins what depends on
// the place alone, never on who was first. `state`: a ticket, then for each row its parts and its groups, as words
// whose upper half is 1 once the lower one is known; all zero before.
#define WIDE (512 * EACH)
#define TURNS (16384 / WIDE)
#define ENDS (TURNS * 16)
#define GROUP 64
__forceinline__ void leave(u64* at, A x) {
  union { A a; u32 w; } bits; bits.a = x;
  asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" :: "l"(at), "l"((u64)1 << 32 | bits.w) : "memory");
}
__forceinline__ A left_by(const u64* at) {
  u64 word;
  do asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(word) : "l"(at) : "memory"); while (word >> 32 == 0);
  union { A a; u32 w; } bits; bits.w = (u32)word;
  return bits.a;
}
__forceinline__ A running(A x, int lane) {
  for (int d = 1; d < 32; d <<= 1) {
    A left = shuffle_up(x, d);
    if (lane >= d) x = R<A>::join(left, x);
  }
  return x;
}
extern "C" __global__ void __launch_bounds__(512, 2) scan_once(const T* x, T* out, u64* state, G g) {
  // What is left of a thread's elements in its warp, which registers have no room for, and of a warp's in the part.
  __shared__ A before[TURNS][512], ends[ENDS];
  __shared__ A earlier;
  __shared__ u32 ticket;
  if (threadIdx.x == 0) ticket = atomicAdd((u32*)state, 1u);
  __syncthreads();
  const i64 parts = g.v[5], row = ticket / parts, part = ticket - row * parts, groups = (parts + GROUP - 1) / GROUP;
  u64 *own = state + 1 + row * (parts + groups), *joined = own + parts;
  i64 from, to;
  place(g, row, from, to);
  const i64 begin = part * g.v[4], end = begin + g.v[4] < g.v[1] ? begin + g.v[4] : g.v[1], first = begin + threadIdx.x * EACH;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  A v[TURNS][EACH];
#pragma unroll
  for (int t = 0; t < TURNS; t++) fetch(x + from, first + t * WIDE, end, g, v[t]);
#pragma unroll
  for (int t = 0; t < TURNS; t++) {
#pragma unroll
    for (int e = 1; e < EACH; e++) v[t][e] = R<A>::join(v[t][e - 1], v[t][e]);
    const A sum = running(v[t][EACH - 1], lane);
    const A left = shuffle_up(sum, 1);
    before[t][threadIdx.x] = lane == 0 ? R<A>::start() : left;
    if (lane == 31) ends[t * 16 + warp] = sum;
  }
  __syncthreads();
  if (warp == 0) {
    // What comes before each warp's turn within the part.
    A mine[ENDS / 32], whole = R<A>::start();
#pragma unroll
    for (int i = 0; i < ENDS / 32; i++) {
      mine[i] = ends[lane * (ENDS / 32) + i];
      whole = i == 0 ? mine[0] : R<A>::join(whole, mine[i]);
    }
    const A both = running(whole, lane);
    A start = shuffle_up(both, 1);
    if (lane == 0) start = R<A>::start();
#pragma unroll
    for (int i = 0; i < ENDS / 32; i++) { ends[lane * (ENDS / 32) + i] = start; start = R<A>::join(start, mine[i]); }
    if (lane == 31) leave(own + part, both);
    const i64 group = part / GROUP;
    A sum = R<A>::start();
#pragma unroll
    for (int i = 0; i < GROUP / 32; i++) {
      const i64 p = group * GROUP + i * 32 + lane;
      if (p < part) sum = R<A>::join(sum, left_by(own + p));
    }
    __syncwarp();
    sum = warp_join<R<A>>(sum);
    if (lane == 31) {
      if (group > 0) sum = R<A>::join(left_by(joined + group - 1), sum);
      earlier = sum;
      if (part % GROUP == GROUP - 1) leave(joined + group, R<A>::join(sum, both));
    }
  }
  __syncthreads();
#pragma unroll
  for (int t = 0; t < TURNS; t++) {
    const A offset = R<A>::join(R<A>::join(earlier, ends[t * 16 + warp]), before[t][threadIdx.x]);
    if (!g.v[8]) {
#pragma unroll
      for (int e = EACH - 1; e > 0; e--) v[t][e] = v[t][e - 1];
    }
#pragma unroll
    for (int e = 0; e < EACH; e++) v[t][e] = e == 0 && !g.v[8] ? offset : R<A>::join(offset, v[t][e]);
    store(out + to, first + t * WIDE, end, g, v[t]);
  }
}
#endif
#endif

#ifdef ARG_ROWS
// The same as ARG for rows of at most 2^16 neighbours of 16 bits, in eights: a warp for each row, four to a
// block. Elements and their places become keys, whose greatest is the answer.
#ifdef HALF
#define FMA "fma.rn.f16x2"
#define UNITS (ARG_ROWS < 0 ? 0xbc00bc00u : 0x3c003c00u)
#else
#define FMA "fma.rn.bf16x2"
#define UNITS (ARG_ROWS < 0 ? 0xbf80bf80u : 0x3f803f80u)
#endif
// Two elements as numbers in the order of the search: NaN last, both zeros the same.
__forceinline__ u32 ordered(u32 pair) {
  u32 x;
  asm(FMA " %0, %1, %2, %3;" : "=r"(x) : "r"(pair), "r"(UNITS), "r"(0));
  return x ^ ((x >> 15 & 0x00010001u) * 0xffffu | 0x80008000u);
}
extern "C" __global__ void __launch_bounds__(128) arg_rows(const T* x, u32* out, G g) {
  const i64 row = (i64)blockIdx.x * 4 + threadIdx.x / 32;
  if (row >= g.v[0]) return;
  i64 from, to;
  place(g, row, from, to);
  const int packs = (int)g.v[1] / 8;
  u32 best = 0;
#pragma unroll 4
  for (int j = threadIdx.x & 31; j < packs; j += 32) {
    const Pack<u32, 4> p = *(const Pack<u32, 4>*)(x + from + j * 8);
#pragma unroll
    for (int e = 0; e < 4; e++) {
      const u32 pair = ordered(p.v[e]), place = 65535 - (j * 8 + 2 * e);
      best = max(best, max(pair << 16 | place, (pair & 0xffff0000u) | (place - 1)));
    }
  }
  best = __reduce_max_sync(0xffffffffu, best);
  if ((threadIdx.x & 31) == 0) out[to] = 65535 - (best & 0xffff);
}
#endif

#ifdef ARG
// The place of the least (ARG < 0) or greatest element; NaN comes first, equal ones by place.
__forceinline__ bool nan_of(A x) { return x != x; }
__forceinline__ bool ahead(A a, i64 i, A b, i64 j) {
  bool na = nan_of(a), nb = nan_of(b);
  if (na != nb) return na;
  if (!na && a != b) return ARG < 0 ? a < b : a > b;
  return i < j;
}
extern "C" __global__ void __launch_bounds__(WIDTH) arg_reduce(const T* x, u32* out, G g) {
  OVERLAPS
  __shared__ A values[WIDTH / 32];
  __shared__ i64 places[WIDTH / 32];
  i64 row = blockIdx.x, from, to;
  place(g, row, from, to);
  A best = widen(x[from]); i64 at = 0;
#ifdef UNIT
  // A thread's places rise, so an equal element is never ahead.
#pragma unroll 2
  for (i64 j = threadIdx.x * 8; j < g.v[1]; j += WIDTH * 8) {
    const Pack<T, 8> p = *(const Pack<T, 8>*)(x + from + j);
#pragma unroll
    for (int e = 0; e < 8; e++) {
      A value = widen(p.v[e]);
      if ((ARG < 0 ? value < best : value > best) || (nan_of(value) && !nan_of(best))) { best = value; at = j + e; }
    }
  }
#else
  for (i64 j = threadIdx.x; j < g.v[1]; j += WIDTH) {
    A value = widen(x[from + j * g.v[2]]);
    if (ahead(value, j, best, at)) { best = value; at = j; }
  }
#endif
  for (int m = 16; m > 0; m >>= 1) {
    A value = shuffle_xor(best, m); i64 j = shuffle_xor(at, m);
    if (ahead(value, j, best, at)) { best = value; at = j; }
  }
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  if (lane == 0) { values[warp] = best; places[warp] = at; }
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int w = 1; w < WIDTH / 32; w++) if (ahead(values[w], places[w], best, at)) { best = values[w]; at = places[w]; }
    out[to] = (u32)at;
  }
}
#endif
