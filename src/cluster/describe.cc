#include "cluster/describe.h"

#include <fmt/format.h>

#include <array>
#include <string_view>

#include "base/units.h"
#include "wire/plan.h"

namespace exo::cluster {
namespace {

using wire::Reason;

std::string WithDetail(std::string text, const std::string& detail) {
  return detail.empty() ? text : fmt::format("{}: {}", text, detail);
}

std::string LayersAt(const wire::Plan* plan, const NodeId& node) {
  return plan == nullptr ? std::string("its layers")
                         : wire::DescribeStage(*plan, wire::StageOf(*plan, node));
}

// About an instance that ended.
std::string DescribeEnd(const wire::Cause& cause, const wire::Plan* plan, const std::string& node) {
  switch (cause.reason) {
    case Reason::kUnloaded:
      return "the model was unloaded";
    case Reason::kEvicted:
      return "the model was idle and gave its memory back";
    case Reason::kReplaced:
      return fmt::format("{} has placed the same model", node);
    case Reason::kNodeLost:
    case Reason::kStageFailed:
      return WithDetail(fmt::format("lost {} ({})", node, LayersAt(plan, cause.node)),
                        cause.detail);
    case Reason::kOwnerLost:
      return WithDetail(fmt::format("lost {}, which coordinated the instance", node), cause.detail);
    case Reason::kOwnerSilent:
      return fmt::format("{}, which coordinated the instance, does not report it any more", node);
    case Reason::kOwnerSuspended:
      return fmt::format("{} was suspended and gave its instances up", node);
    case Reason::kLoadFailed:
      return WithDetail(fmt::format("{} could not load {}", node, LayersAt(plan, cause.node)),
                        cause.detail);
    case Reason::kLoadStalled:
      return "loading made no progress";
    case Reason::kPlanEnded:
      return fmt::format("{} does not have the plan any more", node);
    default:
      return WithDetail("the instance ended", cause.detail);
  }
}

}  // namespace

std::string Describe(const wire::Cause& cause, const wire::Plan* plan, const NameOf& name_of) {
  const std::string node = cause.node.IsZero() ? "a device" : name_of(cause.node);
  const SizePair sizes = FormatSizes(cause.needed, cause.available);
  switch (cause.reason) {
    case Reason::kReservationTimeout:
      return "not every node answered the reservation";
    case Reason::kNoMemory:
      return fmt::format("{} has {} of {} left, its part needs {}", node, sizes.second,
                         FormatSize(cause.budget), sizes.first);
    case Reason::kNoRoom:
      return fmt::format("{} holds {} instances, the limit, and none is idle", node, cause.needed);
    case Reason::kDoesNotFit:
      if (!cause.detail.empty()) return cause.detail;
      return fmt::format("the model does not fit: it needs {}, all nodes together offer {}",
                         sizes.first, sizes.second);
    case Reason::kNotHeld:
      return cause.node.IsZero() ? WithDetail("no reachable device holds the model", cause.detail)
                                 : fmt::format("{} does not hold the model", node);
    case Reason::kNoAnswer:
      return fmt::format("{} did not answer", node);
    case Reason::kInvalidPlan:
      return WithDetail(fmt::format("{} refused an invalid plan", node), cause.detail);
    case Reason::kTooManyCallers:
      return fmt::format("{} callers wait for this model already", cause.needed);
    case Reason::kCannotPlan:
      return WithDetail("the model cannot be placed", cause.detail);
    case Reason::kUnspecified:
      return cause.detail.empty() ? "for a reason that this version does not know" : cause.detail;
    default:
      return DescribeEnd(cause, plan, node);
  }
}

Error ErrorOf(const wire::Cause& cause, const wire::Plan* plan, const NameOf& name_of) {
  return {cause.code, Describe(cause, plan, name_of)};
}

std::string DescribeState(const wire::InstanceSummary& summary, const NameOf& name_of) {
  switch (summary.state) {
    case wire::InstanceState::kReserving:
    case wire::InstanceState::kReady:
      return "";
    case wire::InstanceState::kLoading:
      if (summary.loading.IsZero()) return "";
      return fmt::format("{} at {} %", name_of(summary.loading), summary.loading_percent);
    case wire::InstanceState::kDraining:
    case wire::InstanceState::kGone:
      return Describe(summary.cause, &summary.plan, name_of);
  }
  return "";
}

namespace {

std::string DescribeDivision(const wire::Plan& plan, const wire::Expectation& expected,
                             const NameOf& name_of) {
  if (plan.stages.empty() || expected.basis == wire::PlanBasis::kUnknown) return "";
  const double speed = expected.decode_tokens_per_second;
  if (plan.stages.size() == 1) {
    return fmt::format("{} holds the whole model and is predicted fastest: {:.1f} tokens/s",
                       name_of(plan.stages[0].node), speed);
  }
  std::string names, parts;
  for (const wire::StagePlan& stage : plan.stages) {
    const std::string name = name_of(stage.node);
    names += (names.empty() ? "" : " + ") + name;
    parts += fmt::format("{}{} {}", parts.empty() ? "" : ", ", name,
                         stage.shard ? stage.shard->kv_end - stage.shard->kv_begin
                                     : stage.layer_end - stage.layer_begin);
  }
  if (IsSharded(plan)) {
    return fmt::format(
        "each layer split over the nodes, as asked: {} (KV heads in proportion to "
        "speed: {}): {:.1f} tokens/s",
        names, parts, speed);
  }
  return fmt::format("{}: {} (layers in proportion to speed: {}): {:.1f} tokens/s",
                     expected.basis == wire::PlanBasis::kSpread
                         ? "spread over the nodes, as asked"
                         : "no node holds the model alone; the fewest that do",
                     names, parts, speed);
}

// What tests/wire_quality_test.cc measured over three stages (docs/performance.md), by codec.
constexpr std::array<std::string_view, wire::kCodecNames.size()> kChangedTokens = {
    "", "0.7 % of exo-tiny's next tokens, 0.1 % of stories260K's",
    "1.0 % of exo-tiny's next tokens, 0.9 % of stories260K's",
    "8.6 % of exo-tiny's next tokens, 13.9 % of stories260K's"};

}  // namespace

std::string DescribePlacement(const wire::Plan& plan, const wire::Expectation& expected,
                              const NameOf& name_of) {
  std::string text = DescribeDivision(plan, expected, name_of);
  if (const wire::WireLoss loss = wire::LossOf(plan); loss != wire::WireLoss{} && !text.empty()) {
    text += fmt::format("; {} wire: answers differ from those of one device (it changed {})",
                        wire::NameOf(loss.codec), kChangedTokens[static_cast<size_t>(loss.codec)]);
  }
  return text;
}

}  // namespace exo::cluster
