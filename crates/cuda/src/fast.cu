// Rotary embedding. T is the element type, I that of offsets; arithmetic is in float (double angles). A
// launch has COUNT calls.
struct G { i64 v[64]; };

#ifdef ROPE
// x (b, rows, steps, d), rows of d turned by the position times 2^(turn_ pair), or 1 / freqs[pair]: one thread for each pair, and for each
// element that stays. G: pairs of a row and rest, rows in all, steps, rows of a batch element, dims, d,
// traditional, inverse, offsets, strides of x for (batch axes...) by a struct: kept axes, then (size,
// stride), and the stride of the last axis at v[11].
struct Call { const T* x; const I* offsets; const float* freqs; T* out; double turn_, scale; G g; };
struct Calls { Call of[COUNT]; };
extern "C" __global__ void rope(const __grid_constant__ Calls calls) {
  OVERLAPS
  const Call& call = calls.of[blockIdx.y];
  const T* x = call.x; const I* offsets = call.offsets; const float* freqs = call.freqs; T* out = call.out;
  const double turn_ = call.turn_, scale = call.scale;
  const G& g = call.g;
  typedef Compute<T>::type A;
  i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  i64 each = g.v[0];
  if (i >= each * g.v[1]) return;
  i64 row = i / each, pair = i - row * each, half = g.v[4] / 2, rest = row, from = 0, d = g.v[5];
  for (int a = (int)g.v[9] - 1; a >= 0; a--) {
    i64 n = g.v[12 + 2 * a], next = rest / n;
    from += (rest - next * n) * g.v[13 + 2 * a]; rest = next;
  }
  if (pair >= half) {
    i64 j = g.v[4] + pair - half;
    out[row * d + j] = x[from + j * g.v[11]];
    return;
  }
  i64 batch = g.v[8] == 1 ? 0 : row / g.v[3];
  double position = ((double)offsets[batch] + (double)(row % g.v[2])) * scale;
  A s, c;
  rotation(position, pair, freqs, turn_, s, c);
  if (g.v[7]) s = -s;
  i64 a = g.v[6] ? 2 * pair : pair, b = g.v[6] ? a + 1 : pair + half;
  A x0 = widen(x[from + a * g.v[11]]), x1 = widen(x[from + b * g.v[11]]), cs = c, sn = s;
  out[row * d + a] = convert<T>(x0 * cs - x1 * sn);
  out[row * d + b] = convert<T>(x0 * sn + x1 * cs);
}
#endif
