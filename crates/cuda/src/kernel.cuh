// What users' kernels may use: MLX's names of element types, shapes and strides of inputs, and the
// parts of cooperative groups that number threads. CUDA's headers are used where they are found.

typedef signed char int8_t;
typedef short int16_t;
typedef int int32_t;
typedef long int64_t;
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long uint64_t;

#if __has_include(<cuda_fp16.h>)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#else
struct alignas(2) __half {
  unsigned short bits;
  __half() = default;
  __device__ __half(float x) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x)); }
  __device__ operator float() const { float y; asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(bits)); return y; }
};
struct alignas(2) __nv_bfloat16 {
  unsigned short bits;
  __nv_bfloat16() = default;
  __device__ __nv_bfloat16(float x) { asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x)); }
  __device__ operator float() const { return __uint_as_float((unsigned)bits << 16); }
};
#endif
typedef __half float16_t;
typedef __nv_bfloat16 bfloat16_t;

struct alignas(8) complex64_t {
  float re, im;
};

// Functions of half types are those of float, rounded.
#define HALF_FUNCTION(name)                                                            \
  __device__ inline __half name(__half x) { return __half(::name((float)x)); }         \
  __device__ inline __nv_bfloat16 name(__nv_bfloat16 x) { return __nv_bfloat16(::name((float)x)); }
HALF_FUNCTION(exp)
HALF_FUNCTION(log)
HALF_FUNCTION(sqrt)
HALF_FUNCTION(sin)
HALF_FUNCTION(cos)
HALF_FUNCTION(tanh)
HALF_FUNCTION(erf)
HALF_FUNCTION(fabs)
#undef HALF_FUNCTION

// Eight numbers, of which the first ndim are used.
struct Shape {
  int sizes[8];
  __device__ int operator[](int axis) const { return sizes[axis]; }
  __device__ const int* data() const { return sizes; }
};
struct Strides {
  int64_t steps[8];
  __device__ int64_t operator[](int axis) const { return steps[axis]; }
  __device__ const int64_t* data() const { return steps; }
};

// The place of element `elem`, in row-major order, of an array with these strides.
__device__ inline int64_t elem_to_loc(int64_t elem, const int* shape, const int64_t* strides, int ndim) {
  int64_t at = 0;
  for (int axis = ndim - 1; axis >= 0; --axis) {
    at += (elem % shape[axis]) * strides[axis];
    elem /= shape[axis];
  }
  return at;
}

namespace cooperative_groups {
struct thread_block {
  __device__ unsigned thread_rank() const {
    return (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  }
  __device__ unsigned size() const { return blockDim.x * blockDim.y * blockDim.z; }
  __device__ unsigned num_threads() const { return size(); }
  __device__ dim3 group_index() const { return dim3(blockIdx.x, blockIdx.y, blockIdx.z); }
  __device__ dim3 thread_index() const { return dim3(threadIdx.x, threadIdx.y, threadIdx.z); }
  __device__ void sync() const { __syncthreads(); }
};
struct grid_group {
  __device__ unsigned long long block_rank() const {
    return ((unsigned long long)blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  }
  __device__ unsigned long long thread_rank() const {
    thread_block block;
    return block_rank() * block.size() + block.thread_rank();
  }
  __device__ unsigned long long num_blocks() const {
    return (unsigned long long)gridDim.x * gridDim.y * gridDim.z;
  }
  __device__ unsigned long long size() const { return num_blocks() * thread_block().size(); }
  __device__ unsigned long long num_threads() const { return size(); }
};
__device__ inline thread_block this_thread_block() { return thread_block(); }
__device__ inline grid_group this_grid() { return grid_group(); }
}  // namespace cooperative_groups
