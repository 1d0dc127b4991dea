#include "backend/work_costs.h"

#include <algorithm>

namespace exo::backend {

FormatCost WorkCosts::Of(tensor::DType type) const {
  const auto at = std::ranges::find(formats, type, &FormatCost::type);
  return at == formats.end() ? FormatCost{.type = type} : *at;
}

const WorkCosts& TypicalCosts() {
  using enum tensor::DType;
  static const WorkCosts kCosts = {.layer_bytes = 1.5e6,
                                   .formats = {{kF16, 1.0, 3.5},
                                               {kQ8_0, 1.05, 1.0},
                                               {kQ4_K, 1.15, 1.1},
                                               {kQ5_K, 1.2, 1.1},
                                               {kQ6_K, 1.3, 1.1}}};
  return kCosts;
}

}  // namespace exo::backend
