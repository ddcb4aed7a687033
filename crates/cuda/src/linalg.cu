// What factorisations need beside cuSOLVER and cuBLAS. T is the type of the elements, R of their sizes; matrices of a
// batch follow each other. Unless a kernel says otherwise a thread owns an element. Codes `info` are the libraries':
// not 0 where a matrix could not be factored.
__forceinline__ bool finite(float x) { return fabsf(x) < INFINITY_F; }
__forceinline__ bool finite(double x) { return fabs(x) < INFINITY_D; }
__forceinline__ bool finite(c64 x) { return finite(x.re) && finite(x.im); }
__forceinline__ float times(float x, float y) { return x * y; }
__forceinline__ double times(double x, double y) { return x * y; }
__forceinline__ c64 times(c64 x, float y) { return c64(x.re * y, x.im * y); }
template <class X> __forceinline__ X nan_of();
template <> __forceinline__ float nan_of<float>() { return NAN_F; }
template <> __forceinline__ double nan_of<double>() { return NAN_D; }
template <> __forceinline__ c64 nan_of<c64>() { return c64(NAN_F, NAN_F); }

#define ELEMENT(count)                                     \
  const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;       \
  if (i >= (count)) return;
#define KERNEL extern "C" __global__ void __launch_bounds__(256)

// The addresses of matrices `step` bytes apart.
KERNEL addresses(u64* out, i64 first, i64 step, i64 count) {
  ELEMENT(count)
  out[i] = (u64)(first + i * step);
}

// Reports a code that is not 0.
KERNEL failed(const i32* info, i64 count, u64* fault, i64 op) {
  ELEMENT(count)
  if (info[i] != 0) report(fault, (int)op, i, 0, info[i]);
}

// x (batch, n, n): Cholesky factors, whose diagonals must be positive; what is above them becomes 0.
KERNEL lower(T* x, i64 n, i64 count, u64* fault, i64 op) {
  ELEMENT(count)
  const i64 row = i / n % n, column = i % n;
  if (column > row) x[i] = T(0);
  if (column == row && !(convert<R>(x[i]) > R(0))) report(fault, (int)op, i / (n * n), 0, row);
}

// Reports a zero on the diagonal of x (batch, n, n).
KERNEL singular(const T* x, i64 n, i64 count, u64* fault, i64 op) {
  ELEMENT(count)
  if (x[i / n * n * n + i % n * (n + 1)] == T(0)) report(fault, (int)op, i / n, 0, i % n);
}

#ifdef P
// pivots (batch, k) from 1 on, in the order of the steps: the same from 0 on, and the order of the m rows after all
// swaps. A block owns a matrix; its first thread swaps, in shared memory where the rows fit.
KERNEL permutation(const P* pivots, u32* swaps, u32* order, i64 m, i64 k) {
  constexpr int ROOM = 8192;
  __shared__ u32 local[ROOM];
  pivots += blockIdx.x * k; swaps += blockIdx.x * k; order += blockIdx.x * m;
  u32* rows = m <= ROOM ? local : order;
  for (i64 i = threadIdx.x; i < m; i += 256) rows[i] = (u32)i;
  __syncthreads();
  if (threadIdx.x == 0)
    for (i64 i = 0; i < k; i++) {
      // A matrix that is not finite may have any pivot.
      const i64 p = min(max((i64)pivots[i] - 1, i), m - 1);
      swaps[i] = (u32)p;
      const u32 row = rows[i];
      rows[i] = rows[p]; rows[p] = row;
    }
  __syncthreads();
  if (m <= ROOM)
    for (i64 i = threadIdx.x; i < m; i += 256) order[i] = rows[i];
}
#endif

// x (batch, n, r): row i is row order[i] of b, or with `back` row order[i] is row i of b.
KERNEL permute(const T* b, const u32* order, T* x, i64 n, i64 r, i64 count, i64 back) {
  ELEMENT(count)
  const i64 row = i / r, first = row / n * n, other = first + min((i64)order[row], n - 1);
  if (back) x[other * r + i % r] = b[i];
  else x[i] = b[other * r + i % r];
}

// R (batch, k, n) of the factored matrices (batch, m, n) that lie column by column.
KERNEL upper(const T* packed, T* r, i64 m, i64 n, i64 k, i64 count) {
  ELEMENT(count)
  const i64 b = i / (k * n), row = i / n % k, column = i % n;
  r[i] = column >= row ? packed[(b * n + column) * m + row] : T(0);
}

// Marks matrices of `size` elements that are not finite; of rows of n with `triangle`, what is above the diagonal does
// not count.
KERNEL mark(const T* x, i64 size, i64 n, i64 count, i64 triangle, i32* marks) {
  ELEMENT(count)
  const i64 place = i % size;
  if (!finite(x[i]) && !(triangle && place % n > place / n)) marks[i / size] = 1;
}

// Marked matrices of rows of n become the identity; all, if there are no marks.
KERNEL identity(T* x, i64 size, i64 n, i64 count, const i32* marks) {
  ELEMENT(count)
  const i64 place = i % size;
  if (!marks || marks[i / size]) x[i] = T(place % n == place / n ? 1 : 0);
}

// Marked parts of `size` elements become NaN.
KERNEL spoil(T* x, i64 size, i64 count, const i32* marks) {
  ELEMENT(count)
  if (marks[i / size]) x[i] = nan_of<T>();
}

// Row j of x (batch, k, n) is divided by s[j] (batch, k), or is 0 where that is not above `bound` times the first.
KERNEL divide(T* x, const R* s, i64 k, i64 n, i64 count, double bound) {
  ELEMENT(count)
  const i64 row = i / n;
  const R size = s[row];
  x[i] = size > (R)bound * s[row / k * k] ? times(x[i], R(1) / size) : T(0);
}

// Roots s (batch, n) of values w in increasing order, the greatest first; what is below 0 is a rounding.
KERNEL roots(const double* w, R* s, i64 n, i64 count) {
  ELEMENT(count)
  s[i] = (R)sqrt(fmax(w[i / n * n + n - 1 - i % n], 0.));
}

// Of factored matrices (batch, wanted, rows) that lie column by column, the sizes of the first n numbers of R's diagonal,
// each no less than those behind it, and their signs. A block owns a matrix.
KERNEL diagonal(const double* x, R* s, double* signs, i64 rows, i64 n, i64 wanted) {
  x += blockIdx.x * wanted * rows; s += blockIdx.x * n; signs += blockIdx.x * n;
  for (i64 i = threadIdx.x; i < n; i += 256) signs[i] = x[i * (rows + 1)];
  __syncthreads();
  for (i64 i = threadIdx.x; i < n; i += 256) {
    double most = 0.;
    for (i64 j = i; j < n; j++) most = fmax(most, fabs(signs[j]));
    s[i] = (R)most;
  }
  __syncthreads();
  for (i64 i = threadIdx.x; i < n; i += 256) signs[i] = signs[i] < 0. ? -1. : 1.;
}

// x (batch, wanted, rows), of whose rows the first n have signs (batch, n).
KERNEL signed_rows(const double* x, R* y, const double* signs, i64 rows, i64 n, i64 wanted, i64 count) {
  ELEMENT(count)
  const i64 row = i / rows % wanted;
  y[i] = (R)(row < n ? x[i] * signs[i / rows / wanted * n + row] : x[i]);
}

__forceinline__ c128 widest(double x) { return {x, 0.}; }
__forceinline__ c128 widest(c64 x) { return wide(x); }

// Matrices x (batch, n, n), column by column in double precision; the marked ones become the identity.
KERNEL widen_columns(const T* x, c128* y, i64 n, i64 count, const i32* marks) {
  ELEMENT(count)
  const i64 b = i / (n * n), row = i / n % n, column = i % n;
  c128 v = widest(x[i]);
  if (marks[b]) v = {row == column ? 1. : 0., 0.};
  y[(b * n + column) * n + row] = v;
}

// Single-precision numbers of x (batch, columns, rows), as (batch, rows, columns).
KERNEL narrow_columns(const c128* x, c64* y, i64 rows, i64 columns, i64 count) {
  ELEMENT(count)
  const i64 b = i / (rows * columns), row = i / columns % rows, column = i % columns;
  y[i] = narrow(x[(b * columns + column) * rows + row]);
}
