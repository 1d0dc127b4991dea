// The search behind Q4_K, Q5_K and Q6_K: between quantize.cc and quantize_super.cc only.
//
// Each sub-block is fitted by weighted least squares: a set of candidate step widths around the one
// that spans its values gives codes; for codes the best scale (and minimum) is a small linear
// system; the candidate with the least error is improved once more in the same way. The block's f16
// scales then follow from the largest sub-scale and sub-minimum, and each sub-block takes the
// integers among the neighbors of its optimum that err least with the scales as they were rounded.
//
// An error counts by |value| + the root mean square of the block: large weights matter more.
#pragma once

#include <cstddef>
#include <span>

#include "tensor/dtype.h"

namespace exo::tensor {

// The first of the values of largest magnitude. In two passes: clang 19 loses values of the loop
// that keeps the extreme so far when it makes vectors of it (seen with -O3 -march=native on
// AVX-512).
float Extreme(std::span<const float> values);

// 256 values of at most kLargestWeight to one Q4_K or Q5_K block; `out` is zero.
void QuantizeScaleMinimum(DType type, const float* values, std::byte* out);
// The same to one Q6_K block.
void QuantizeScale(const float* values, std::byte* out);

}  // namespace exo::tensor
