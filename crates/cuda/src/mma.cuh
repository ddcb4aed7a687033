// Matrix units and asynchronous copies of compute capability 8.0, for elements T of 16 bits. Nothing
// here is a kernel. Fragments are those of mma.m16n8k16 (PTX ISA, "Matrix fragments for mma"): lane l
// holds rows l / 4 and l / 4 + 8, and columns 2 (l % 4) and 2 (l % 4) + 1 of every 8.

template <class T> struct Unit;
template <> struct Unit<bf16> {
  // c += a b; a 16 x 16, b 16 x 8, c 16 x 8.
  static __forceinline__ void mma(float* c, const u32* a, u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
  // Two elements in a word, the first in the low half.
  static __forceinline__ u32 pair(float lo, float hi) {
    u32 w; asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(w) : "f"(hi), "f"(lo)); return w;
  }
};
template <> struct Unit<f16> {
  static __forceinline__ void mma(float* c, const u32* a, u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
  static __forceinline__ u32 pair(float lo, float hi) {
    u32 w; asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(w) : "f"(hi), "f"(lo)); return w;
  }
};

// Two elements in a word. `magic` and its opposite `minus` are numbers whose last bits count ones.
template <class T> struct Pairs;
template <> struct Pairs<bf16> {
  static constexpr u32 one = 0x3f803f80u, magic = 0x43004300u, minus = 0xc300c300u;
  static __forceinline__ u32 fma(u32 a, u32 b, u32 c) {
    u32 d; asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c)); return d;
  }
};
template <> struct Pairs<f16> {
  static constexpr u32 one = 0x3c003c00u, magic = 0x64006400u, minus = 0xe400e400u;
  static __forceinline__ u32 fma(u32 a, u32 b, u32 c) {
    u32 d; asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c)); return d;
  }
};

__forceinline__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

// Copies 16 bytes to shared memory; `ok` false writes zeros and reads nothing.
__forceinline__ void copy_16(u32 to, const void* from, bool ok) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"(to), "l"(from), "r"(ok ? 16 : 0) : "memory");
}
__forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most N groups of this thread are under way.
template <int N> __forceinline__ void wait_copies() { asm volatile("cp.async.wait_group %0;" :: "n"(N) : "memory"); }

// Four 8 x 8 matrices, whose rows lie at the addresses that the lanes give, as they are or transposed.
__forceinline__ void load_4(u32* r, u32 at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
__forceinline__ void load_4_transposed(u32* r, u32 at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
__forceinline__ float exp2_of(float x) { float y; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }
// Joins over the four lanes that share a row.
__forceinline__ float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1)); return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
__forceinline__ float quad_sum(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1); return x + __shfl_xor_sync(0xffffffffu, x, 2);
}
