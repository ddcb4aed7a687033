// Rotary embedding: sine and cosine of the turn of a pair. Every op rounds by itself, so that all kernels
// turn alike.
__forceinline__ void sine_cosine(double angle, float& s, float& c) { sincosf((float)angle, &s, &c); }
__forceinline__ void sine_cosine(double angle, double& s, double& c) { sincos(angle, &s, &c); }
// The turn at a position is position * 2^(turn pair), or position / freqs[pair]. It is brought near zero in
// double, so that float's sine and cosine do.
template <class A> __forceinline__ void rotation(double position, i64 pair, const float* freqs, double turn, A& s, A& c) {
  const double angle = __dmul_rn(position, freqs ? 1.0 / (double)freqs[pair] : exp2((double)pair * turn));
  sine_cosine(__dsub_rn(angle, __dmul_rn(rint(angle * 0.15915494309189535), 6.283185307179586)), s, c);
}
