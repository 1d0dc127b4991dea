// What a row costs a device in comparison: weights of each format, and what a layer does besides
// reading its weights, told in bytes of Q4_0 that take as long to read. So one rate
// (Speed::decode_gbps), which is measured often and healed by live work, tells the time of a model
// of any formats; what is compared here hardly changes.
#pragma once

#include <vector>

#include "tensor/dtype.h"

namespace exo::backend {

// How long something takes, by the time of the same in Q4_0.
struct FormatCost {
  tensor::DType type = tensor::DType::kQ4_0;
  double decode = 1;   // a byte of packed weights, read for one row
  double prefill = 1;  // an operation, with many rows at once
  friend bool operator==(const FormatCost&, const FormatCost&) = default;
};

struct WorkCosts {
  double layer_bytes = 0;  // norms, attention of a short context, and the threads' waits
  std::vector<FormatCost> formats;

  // 1 and 1 of a format that is not listed.
  FormatCost Of(tensor::DType type) const;
  friend bool operator==(const WorkCosts&, const WorkCosts&) = default;
};

// Until a device's own are measured: those of an x86-64 with AVX-512 (docs/performance.md).
const WorkCosts& TypicalCosts();

}  // namespace exo::backend
