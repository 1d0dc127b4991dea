// The canonical tree (rule 3): the left subtree of n leaves holds the largest power of two below n.
#pragma once

#include <bit>
#include <cstddef>

namespace exo::kernels::reference {

// Sum of leaf(first) … leaf(first + count - 1), count > 0.
template <class Leaf>
float TreeSum(const Leaf& leaf, size_t first, size_t count) {
  if (count == 1) return leaf(first);
  const size_t left = std::bit_floor(count - 1);
  const float a = TreeSum(leaf, first, left);
  const float b = TreeSum(leaf, first + left, count - left);
  return a + b;
}

}  // namespace exo::kernels::reference
