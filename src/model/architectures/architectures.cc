#include <fmt/ranges.h>

#include <array>
#include <vector>

#include "model/architectures/architecture.h"

namespace exo::model {
namespace {

constexpr std::array kArchitectures = {&kGemma3, &kLlama, &kQwen2, &kQwen2Moe, &kQwen3, &kQwen3Moe};

}  // namespace

Result<const Architecture*> FindArchitecture(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Architecture* architecture : kArchitectures) {
    if (architecture->name == name) return architecture;
    names.push_back(architecture->name);
  }
  return Fail(ErrorCode::kUnsupported, "the architecture '{}' (this build runs {})", name,
              fmt::join(names, ", "));
}

Result<double> ReadRopeBase(const Keys& keys, std::string_view suffix, double absent) {
  const double base = TRY(keys.Float(suffix, absent));
  if (base >= 1 && base <= 1e12) return base;
  return Fail(ErrorCode::kCorrupt, "a rope base of {}", base);
}

Result<void> ReadDenseWidth(const Keys& keys, ModelConfig& config) {
  config.ffn_width = TRY(keys.Uint("feed_forward_length", kMaxFfnWidth));
  return {};
}

Result<void> ReadExperts(const Keys& keys, ModelConfig& config) {
  ExpertConfig& experts = config.experts;
  experts.count = TRY(keys.Uint("expert_count", kMaxExperts));
  experts.used = TRY(keys.Uint("expert_used_count", kMaxExpertsUsed));
  if (experts.used > experts.count) {
    return Fail(ErrorCode::kCorrupt, "{} experts for each token of a model that has {}",
                experts.used, experts.count);
  }
  experts.width = TRY(keys.Uint("expert_feed_forward_length", kMaxFfnWidth));
  return {};
}

}  // namespace exo::model
