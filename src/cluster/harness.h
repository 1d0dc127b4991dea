// For tests of the core: a few nodes in memory, whose messages arrive at once, and a clock that the
// test sets.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "cluster/core.h"

namespace exo::cluster {

inline ModelShape SixLayers() {
  ModelShape shape{.name = "m", .width = 8, .trained_context = 64};
  shape.id.bytes[0] = 77;
  shape.layer_bytes.assign(6, kMiB);
  shape.kv_bytes_per_position = {1, 2};
  return shape;
}

inline ModelShape Other(uint8_t number) {
  ModelShape shape = SixLayers();
  shape.id.bytes[0] = number;
  return shape;
}

// Cores whose messages arrive at once; loads and stops end at once, unless `loading_` or
// `stopping_` is off.
class CoreTest : public testing::Test {
 protected:
  struct Node {
    NodeId id;
    std::unique_ptr<Core> core;
    bool alive = true;
    std::vector<Effect> effects;  // but Send and Changed
  };

  void Add(std::string name, uint64_t budget, bool holds) {
    Node& node = nodes_.emplace_back();
    node.id.bytes[0] = static_cast<uint8_t>(nodes_.size());
    node.core = std::make_unique<Core>(
        CoreOptions{.self = node.id, .name = name, .incarnation = 1, .seed = 5});
    wire::NodeRecord record{
        .devices = {{.memory_budget = budget, .decode_gbps = 1, .prefill_gops = 1}}};
    if (holds) record.models.push_back({.id = SixLayers().id});
    Tell(nodes_.size() - 1, Tick{.wall_ms = 1000});
    Tell(nodes_.size() - 1, LocalRecord{record});
    if (holds) Tell(nodes_.size() - 1, LocalModels{{SixLayers()}});
  }
  void ConnectAll() {
    for (size_t a = 0; a < nodes_.size(); ++a) {
      for (size_t b = 0; b < nodes_.size(); ++b) {
        if (a != b) Tell(a, SessionUp{.peer = nodes_[b].id, .boot_nonce = 1}, false);
      }
    }
    Deliver();
  }
  void Tell(size_t to, const Event& event, bool deliver = true) {
    Node& node = nodes_[to];
    if (!node.alive) return;
    for (Effect& effect : node.core->Step(OfItsPlan(event), now_)) {
      if (const auto* submit = std::get_if<LeadSubmit>(&effect))
        plan_of_[submit->submit.request] = submit->submit.plan;
      if (auto* send = std::get_if<Send>(&effect)) {
        under_way_.push_back({node.id, send->peer, std::move(send->message)});
      } else if (auto* load = std::get_if<StartLoad>(&effect); load && loading_) {
        Tell(to, LoadFinished{load->plan.id, {}, 3}, false);
        node.effects.push_back(effect);
      } else if (auto* stop = std::get_if<StopInstance>(&effect)) {
        const PlanId plan = stop->plan;
        node.effects.push_back(effect);
        if (stopping_) Tell(to, StageStopped{plan}, false);
      } else {
        node.effects.push_back(std::move(effect));
      }
    }
    if (deliver) Deliver();
  }
  // A runner knows its plan: news of a request are of the one that it was handed out for last.
  Event OfItsPlan(Event event) {
    auto* emitted = std::get_if<LeadEmitted>(&event);
    if (emitted != nullptr && emitted->plan.IsZero()) emitted->plan = plan_of_[emitted->request];
    auto* ended = std::get_if<LeadFinished>(&event);
    if (ended != nullptr && ended->finished.plan.IsZero())
      ended->finished.plan = plan_of_[ended->finished.request];
    return event;
  }
  void Deliver() {
    while (!under_way_.empty()) {
      const auto [from, to, message] = std::move(under_way_.front());
      under_way_.pop_front();
      for (size_t i = 0; i < nodes_.size(); ++i) {
        if (nodes_[i].id == to) Tell(i, Received{from, message}, false);
      }
    }
  }
  void Pass(Time time) {
    for (const Time end = now_ + time; now_ < end;) {
      now_ += std::chrono::milliseconds(100);
      for (size_t i = 0; i < nodes_.size(); ++i) Tell(i, Tick{});
    }
  }
  // The process ends: its peers see their sessions break.
  void Kill(size_t which) {
    nodes_[which].alive = false;
    for (size_t i = 0; i < nodes_.size(); ++i)
      Tell(i, SessionDown{nodes_[which].id, "connection reset"});
  }
  template <class E>
  std::vector<E> Take(size_t node) {
    std::vector<E> found;
    std::erase_if(nodes_[node].effects, [&](const Effect& effect) {
      if (auto* e = std::get_if<E>(&effect)) found.push_back(*e);
      return std::holds_alternative<E>(effect);
    });
    return found;
  }
  const InstanceStatus* InstanceAt(size_t node) {
    seen_ = nodes_[node].core->Instances();
    return seen_.size() == 1 ? &seen_[0] : nullptr;
  }
  // The device `node` with a fresh process and what it had kept on disk.
  void Restart(size_t node, uint64_t budget, bool holds) {
    std::vector<wire::DesiredModel> disk;
    for (const SaveDesired& save : Take<SaveDesired>(node)) disk = save.records;
    const NodeId id = nodes_[node].id;
    nodes_[node].effects.clear();
    nodes_[node].core = std::make_unique<Core>(
        CoreOptions{.self = id, .name = "again", .incarnation = 2, .seed = 6});
    nodes_[node].alive = true;
    wire::NodeRecord record{
        .devices = {{.memory_budget = budget, .decode_gbps = 1, .prefill_gops = 1}}};
    if (holds) record.models.push_back({.id = SixLayers().id});
    Tell(node, Tick{.wall_ms = 1});  // its clock is wrong
    Tell(node, RestoreDesired{disk});
    Tell(node, LocalRecord{record});
    if (holds) Tell(node, LocalModels{{SixLayers()}});
  }
  wire::Submit Ask() {
    wire::Submit submit{.prompt = {1, 2}, .prompt_tokens = 2, .max_new_tokens = 9};
    submit.request.bytes[0] = ++requests_;
    return submit;
  }
  size_t IndexOf(const NodeId& id) const { return id.bytes[0] - 1u; }
  // The model on two devices, owned by the first one.
  wire::Plan PlaceOverTwo(wire::Codec codec = wire::Codec::kF32) {
    Tell(0, EnsureModel{.ticket = 1, .model = SixLayers().id, .codec = codec});
    const auto replies = Take<EnsureReply>(0);
    EXPECT_TRUE(replies.size() == 1 && replies[0].result);
    const wire::Plan plan = replies.at(0).result.value().plan;
    EXPECT_EQ(plan.stages.size(), 2u);
    return plan;
  }
  size_t OtherThanFirst(const wire::Plan& plan) const {
    return IndexOf(plan.stages[plan.stages[0].node == nodes_[0].id ? 1 : 0].node);
  }
  PeerState See(size_t node, size_t peer) {
    for (const NodeStatus& status : nodes_[node].core->Nodes()) {
      if (status.record.id == nodes_[peer].id) return status.state;
    }
    return PeerState::kUnknown;
  }

  Time now_ = std::chrono::seconds(100);
  bool loading_ = true;
  bool stopping_ = true;
  uint8_t requests_ = 0;
  std::map<RequestId, PlanId> plan_of_;
  std::vector<InstanceStatus> seen_;
  std::deque<Node> nodes_;
  struct UnderWay {
    NodeId from, to;
    wire::Message message;
  };
  std::deque<UnderWay> under_way_;
};

}  // namespace exo::cluster
