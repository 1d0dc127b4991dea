#include "cluster/describe.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

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
    case Reason::kMoved:
      return WithDetail(
          cause.node.IsZero() ? "it moves" : fmt::format("it moves because of {}", node),
          cause.detail);
    case Reason::kPlanEnded:
      return fmt::format("{} does not have the plan any more", node);
    default:
      return WithDetail("the instance ended", cause.detail);
  }
}

// By what the chosen one was chosen for: several answers, where one of them tells of several.
double SpeedRatio(const wire::PlanRival& rival, const wire::PlanRival& chosen) {
  if (chosen.use == wire::Use::kPrompts) return chosen.ttft_ms / rival.ttft_ms;
  const auto tells = [](const wire::PlanRival& one) {
    return one.total_tokens_per_second > one.decode_tokens_per_second * (1 + 1e-9);
  };
  return tells(rival) || tells(chosen)
             ? rival.total_tokens_per_second / chosen.total_tokens_per_second
             : rival.decode_tokens_per_second / chosen.decode_tokens_per_second;
}

std::string FirstTokenAfter(double ttft_ms) {
  return fmt::format("the first token behind {} after {:.2f} s",
                     wire::PromptTokensOf(wire::Use::kPrompts), ttft_ms * 1e-3);
}

std::string SpeedFor(const wire::Expectation& expected) {
  if (expected.use == wire::Use::kPrompts) return FirstTokenAfter(expected.ttft_ms);
  if (expected.users < 2) return fmt::format("{:.1f} tokens/s", expected.decode_tokens_per_second);
  return fmt::format("{:.1f} tokens/s for {} answers at once", expected.total_tokens_per_second,
                     expected.users);
}

// "desk + laptop"; of several groups "desk, laptop + board".
std::string NamesOf(const std::vector<NodeId>& nodes, const std::vector<uint32_t>& groups,
                    const NameOf& name_of) {
  std::string names;
  size_t group = 0, left = groups.empty() ? nodes.size() : groups[0];
  for (const NodeId& node : nodes) {
    const bool next = left == 0 && group + 1 < groups.size();
    if (!names.empty()) names += next ? ", " : " + ";
    names += name_of(node);
    if (next) left = groups[++group];
    if (left > 0) --left;
  }
  return names;
}

// "desk", "desk + laptop, layers", "desk + laptop, each layer split", "desk, laptop + board, layers
// over groups"
std::string WaysOf(const wire::PlanRival& rival, const NameOf& name_of) {
  const std::string names = NamesOf(rival.nodes, rival.groups, name_of);
  if (rival.nodes.size() < 2) return names + " alone";
  switch (rival.split) {
    case wire::Split::kAuto:
      return names + ", the whole model on each";
    case wire::Split::kLayer:
      return names + ", layers";
    case wire::Split::kTensor:
      return names + ", each layer split";
    case wire::Split::kHybrid:
      break;
  }
  return names + ", layers over groups";
}

// "20.1 tokens/s", and of several answers at once what they get together.
std::string RatesOf(const wire::PlanRival& rival) {
  const double one = rival.decode_tokens_per_second, all = rival.total_tokens_per_second;
  if (rival.use == wire::Use::kPrompts)
    return fmt::format("{}, then {:.1f} tokens/s", FirstTokenAfter(rival.ttft_ms), one);
  if (all <= one * (1 + 1e-9)) return fmt::format("{:.1f} tokens/s", one);
  return fmt::format("{:.1f} tokens/s in all, {:.1f} for one alone", all, one);
}

std::string FateOf(const wire::PlanRival& rival, const wire::PlanRival& chosen,
                   const NameOf& name_of) {
  const std::string rates = RatesOf(rival);
  const std::string node = rival.short_of.IsZero() ? "" : name_of(rival.short_of);
  switch (rival.fate) {
    case wire::RivalFate::kChosen:
      return rates + "; chosen";
    case wire::RivalFate::kSlower:
      return fmt::format("{}; {:.0f} % of the chosen one's speed", rates,
                         100 * SpeedRatio(rival, chosen));
    case wire::RivalFate::kTooLittleGain:
      if (rival.split == wire::Split::kTensor || rival.split == wire::Split::kHybrid) {
        return fmt::format(
            "{}; {:.0f} % more is not believed: such predictions were off by a quarter; ask for it "
            "by "
            "--split {}",
            rates, 100 * (SpeedRatio(rival, chosen) - 1),
            wire::kSplitNames[static_cast<size_t>(rival.split)]);
      }
      return fmt::format(
          "{}; {:.0f} % more is too little for further devices: predictions are off "
          "by about as much",
          rates, 100 * (SpeedRatio(rival, chosen) - 1));
    case wire::RivalFate::kNoMemory: {
      if (rival.needed == 0)
        return fmt::format("{} has too little memory for its part ({} available)", node,
                           FormatSize(rival.available));
      const SizePair sizes = FormatSizes(rival.needed, rival.available);
      return fmt::format("needs {}, {} is available", sizes.first, sizes.second);
    }
    case wire::RivalFate::kGuest:
      return "a guest would see the text";
    case wire::RivalFate::kTooFewParts:
      return "the layers have fewer parts than there are devices";
    case wire::RivalFate::kUnspecified:
      break;
  }
  return rates;
}

// What of the model a stage has most of its bytes in.
struct Units {
  uint32_t count;
  std::string_view name;
};
Units UnitsOf(const wire::Plan& plan, const wire::StagePlan& stage) {
  if (!stage.shard) return {stage.layer_end - stage.layer_begin, "layers"};
  const wire::ShardPlan& shard = *stage.shard;
  if (plan.stages.back().shard->expert_end > 0)
    return {shard.expert_end - shard.expert_begin, "experts"};
  if (shard.HasHeads()) return {shard.head_end - shard.head_begin, "query heads"};
  return {shard.kv_end - shard.kv_begin, "KV heads"};
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

std::string ReasonsOf(const wire::HealthRecord& health) {
  constexpr std::pair<uint32_t, const char*> kWords[] = {{wire::kLowCharge, "low charge"},
                                                         {wire::kOnBattery, "battery"},
                                                         {wire::kTooHot, "heat"},
                                                         {wire::kOwnerWorks, "its owner works"},
                                                         {wire::kOutsideHours, "not its hours"}};
  std::string words;
  for (const auto& [reason, word] : kWords) {
    if ((health.reasons & reason) != 0) words += (words.empty() ? " (" : ", ") + std::string(word);
  }
  return words.empty() ? words : words + ")";
}

std::string PowerText(const wire::HealthRecord& health) {
  const std::string charge = health.charge ? fmt::format("{} %", *health.charge) : "";
  switch (health.power) {
    case wire::PowerSource::kMains:
      return charge.empty() ? "plugged in" : "plugged in, " + charge;
    case wire::PowerSource::kBattery:
      return charge.empty() ? "on battery" : "on battery, " + charge;
    case wire::PowerSource::kUnknown:
      break;
  }
  return charge.empty() ? charge : "charge " + charge;
}

}  // namespace

std::string DescribeHealth(const wire::HealthRecord& health) {
  std::string text = PowerText(health);
  const auto add = [&](const std::string& part) {
    if (!part.empty()) text += (text.empty() ? "" : "; ") + part;
  };
  if (health.heat != wire::Heat::kUnknown) add(health.heat == wire::Heat::kHot ? "hot" : "cool");
  if (health.owner == wire::Presence::kPresent) add("in use");
  if (health.other_load > 0)
    add(fmt::format("other programs take {:.0f} %", 100 * health.other_load));
  if (health.withheld >= wire::kAllWithheld) {
    add("offers nothing" + ReasonsOf(health));
  } else if (health.withheld > 0) {
    add(fmt::format("offers {} % of its speed{}", wire::kAllWithheld - health.withheld,
                    ReasonsOf(health)));
  }
  return text;
}

namespace {

// "larger than the memory that is offered: 12 of 32 layers are read from disk for each token, by
// desk 8, laptop 4: about 1.4 tokens/s"
std::string DescribeStreamed(const wire::Plan& plan, double speed, const NameOf& name_of) {
  std::string readers;
  for (const wire::StagePlan& stage : plan.stages) {
    if (stage.streamed == 0) continue;
    readers += (readers.empty() ? "" : ", ") + name_of(stage.node);
    if (plan.stages.size() > 1) readers += fmt::format(" {}", stage.streamed);
  }
  return fmt::format(
      "larger than the memory that is offered: {} of {} layers are read from disk for each token, "
      "by {}: about {} tokens/s",
      wire::StreamedLayersOf(plan), plan.layers, readers,
      speed < 1 ? fmt::format("{:.2f}", speed) : fmt::format("{:.1f}", speed));
}

// "layers over groups of nodes are predicted fastest: desk, laptop + board (layers: desk 4, laptop
// + board 12): 20.1 tokens/s"
std::string DescribeHybrid(const wire::Plan& plan, const wire::Expectation& expected,
                           const NameOf& name_of) {
  std::string names, parts;
  for (const wire::StageGroup& group : wire::GroupsOf(plan)) {
    std::vector<NodeId> nodes;
    for (size_t i = group.begin; i < group.end; ++i) nodes.push_back(plan.stages[i].node);
    const std::string name = NamesOf(nodes, {}, name_of);
    const wire::StagePlan& first = plan.stages[group.begin];
    names += (names.empty() ? "" : ", ") + name;
    parts += fmt::format("{}{} {}", parts.empty() ? "" : ", ", name,
                         first.layer_end - first.layer_begin);
  }
  if (expected.basis == wire::PlanBasis::kHybrid) {
    return fmt::format("layers over groups of nodes, as asked: {} (layers: {}): {}", names, parts,
                       SpeedFor(expected));
  }
  return fmt::format("layers over groups of nodes are predicted fastest: {} (layers: {}): {}",
                     names, parts, SpeedFor(expected));
}

std::string DescribeDivision(const wire::Plan& plan, const wire::Expectation& expected,
                             const NameOf& name_of) {
  if (plan.stages.empty() || expected.basis == wire::PlanBasis::kUnknown) return "";
  const double speed = expected.decode_tokens_per_second;
  if (expected.basis == wire::PlanBasis::kReplicas) {
    return fmt::format("{} is one of several devices with the whole model: {}",
                       name_of(plan.stages[0].node), SpeedFor(expected));
  }
  if (wire::StreamedLayersOf(plan) > 0) return DescribeStreamed(plan, speed, name_of);
  if (plan.stages.size() == 1) {
    return fmt::format("{} holds the whole model and is predicted fastest: {}",
                       name_of(plan.stages[0].node), SpeedFor(expected));
  }
  if (wire::IsHybrid(plan)) return DescribeHybrid(plan, expected, name_of);
  std::string names, parts;
  for (const wire::StagePlan& stage : plan.stages) {
    const std::string name = name_of(stage.node);
    names += (names.empty() ? "" : " + ") + name;
    parts += fmt::format("{}{} {}", parts.empty() ? "" : ", ", name, UnitsOf(plan, stage).count);
  }
  const std::string_view units = UnitsOf(plan, plan.stages[0]).name;
  const auto sentence = [&](std::string_view why, std::string_view what) {
    return fmt::format("{}: {} ({} in proportion to speed: {}): {}", why, names, what, parts,
                       SpeedFor(expected));
  };
  switch (expected.basis) {
    case wire::PlanBasis::kTensor:
      return sentence("each layer split over the nodes, as asked", units);
    case wire::PlanBasis::kFasterTensor:
      return sentence("each layer split over the nodes is predicted fastest", units);
    case wire::PlanBasis::kSpread:
      return sentence("spread over the nodes, as asked", units);
    case wire::PlanBasis::kFasterLayers:
      return fmt::format("layers over the nodes are predicted fastest: {} (layers: {}): {}", names,
                         parts, SpeedFor(expected));
    default:
      return fmt::format(
          "no node holds the model alone; {} together are predicted fastest (layers: "
          "{}): {}",
          names, parts, SpeedFor(expected));
  }
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

wire::Expectation ExpectationOf(const std::vector<wire::PlannedReplica>& replicas) {
  wire::Expectation all = replicas[0].expected;
  for (size_t i = 1; i < replicas.size(); ++i) {
    all.users += replicas[i].expected.users;
    all.total_tokens_per_second += replicas[i].expected.total_tokens_per_second;
  }
  return all;
}

std::string DescribeReplicas(const std::vector<wire::PlannedReplica>& replicas,
                             const NameOf& name_of) {
  if (replicas.size() == 1)
    return DescribePlacement(replicas[0].plan, replicas[0].expected, name_of);
  std::string parts;
  for (const wire::PlannedReplica& replica : replicas) {
    const std::string name = name_of(replica.plan.stages[0].node);
    parts += fmt::format("{}{} {}", parts.empty() ? "" : ", ", name, replica.expected.users);
  }
  return fmt::format("the whole model on each of {} devices is predicted fastest (answers: {}): {}",
                     replicas.size(), parts, SpeedFor(ExpectationOf(replicas)));
}

std::vector<std::string> DescribeRivals(const std::vector<wire::PlanRival>& rivals,
                                        const NameOf& name_of) {
  const auto chosen = std::ranges::find(rivals, wire::RivalFate::kChosen, &wire::PlanRival::fate);
  std::vector<std::string> sentences;
  for (const wire::PlanRival& rival : rivals) {
    sentences.push_back(
        fmt::format("{}: {}", WaysOf(rival, name_of),
                    FateOf(rival, chosen == rivals.end() ? rival : *chosen, name_of)));
  }
  return sentences;
}

}  // namespace exo::cluster
