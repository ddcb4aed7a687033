// Running reductions and the places of extremes along one axis of a strided array. A row is the elements
// that differ along that axis only; a block owns a row, or with PARTS a part of it. T is the element
// type, R the reduction (of the prelude). G: rows, length, stride of x, stride of out, length of a part,
// parts, kept axes, reverse, inclusive, then for each kept axis (size, stride of x, stride of out).
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
// The join of each part of a row: totals (rows, parts).
extern "C" __global__ void __launch_bounds__(256) part_totals(const T* x, A* totals, G g) {
  i64 row = blockIdx.x, part = blockIdx.y, from, to;
  place(g, row, from, to);
  i64 begin = part * g.v[4], end = begin + g.v[4] < g.v[1] ? begin + g.v[4] : g.v[1];
  // A part is joined in order: each thread owns neighbours.
  i64 each = (end - begin + 255) / 256, first = begin + each * threadIdx.x;
  A sum = R<A>::start();
  for (i64 j = first; j < first + each && j < end; j++) {
    i64 k = g.v[7] ? g.v[1] - 1 - j : j;
    sum = R<A>::join(sum, widen(x[from + k * g.v[2]]));
  }
  sum = block_join<R<A>>(sum);
  if (threadIdx.x == 0) totals[row * g.v[5] + part] = sum;
}

// The running join, from what earlier parts left.
extern "C" __global__ void __launch_bounds__(256) scan(const T* x, T* out, const A* totals, G g) {
  __shared__ A ends[8];
  __shared__ A carried;
  i64 row = blockIdx.x, part = blockIdx.y, from, to;
  place(g, row, from, to);
  i64 begin = part * g.v[4], end = begin + g.v[4] < g.v[1] ? begin + g.v[4] : g.v[1];
  A carry = R<A>::start();
  if (totals) {
    for (i64 p = threadIdx.x; p < part; p += 256) carry = R<A>::join(carry, totals[row * g.v[5] + p]);
    carry = block_join<R<A>>(carry);
  }
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  for (i64 base = begin; base < end; base += 256) {
    i64 j = base + threadIdx.x, k = g.v[7] ? g.v[1] - 1 - j : j;
    A own = j < end ? A(widen(x[from + k * g.v[2]])) : R<A>::start(), sum = own;
    for (int d = 1; d < 32; d <<= 1) {
      A left = shuffle_up(sum, d);
      if (lane >= d) sum = R<A>::join(left, sum);
    }
    A before = shuffle_up(sum, 1);
    if (lane == 0) before = R<A>::start();
    if (lane == 31) ends[warp] = sum;
    __syncthreads();
    A offset = carry;
    for (int w = 0; w < warp; w++) offset = R<A>::join(offset, ends[w]);
    if (j < end) out[to + k * g.v[3]] = convert<T>(R<A>::join(offset, g.v[8] ? sum : before));
    if (threadIdx.x == 255) carried = R<A>::join(offset, sum);
    __syncthreads();
    carry = carried;
    __syncthreads();
  }
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
extern "C" __global__ void __launch_bounds__(256) arg_reduce(const T* x, u32* out, G g) {
  __shared__ A values[8];
  __shared__ i64 places[8];
  i64 row = blockIdx.x, from, to;
  place(g, row, from, to);
  A best = widen(x[from]); i64 at = 0;
  for (i64 j = threadIdx.x; j < g.v[1]; j += 256) {
    A value = widen(x[from + j * g.v[2]]);
    if (ahead(value, j, best, at)) { best = value; at = j; }
  }
  for (int m = 16; m > 0; m >>= 1) {
    A value = shuffle_xor(best, m); i64 j = shuffle_xor(at, m);
    if (ahead(value, j, best, at)) { best = value; at = j; }
  }
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  if (lane == 0) { values[warp] = best; places[warp] = at; }
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int w = 1; w < 8; w++) if (ahead(values[w], places[w], best, at)) { best = values[w]; at = places[w]; }
    out[to] = (u32)at;
  }
}
#endif
