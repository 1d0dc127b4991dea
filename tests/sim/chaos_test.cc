// What users and misfortune do to the simulated cluster, and what must hold all the same.
#include <algorithm>

#include "sim/world.h"

namespace exo::sim {

void World::Chaos() {
  if (calm_) return;
  Node& node = nodes_[rng_.Below(nodes_.size())];
  if (Chance(0.1)) {
    ChangeDevice(node);
  } else if (Chance(0.75)) {
    Work();
  } else {
    Fault();
  }
  After(Jitter(20'000, 500'000), [this] { Chaos(); });
}

// It gets hot, has other programs to run, goes on battery, or finds its links to be others: models
// move away, and back.
void World::ChangeDevice(Node& node) {
  if (!node.running || node.paused) return;
  if (Chance(0.3)) {
    node.links.clear();
    for (const Node& other : nodes_) {
      if (other.id == node.id) continue;
      const double rtt_ms = 0.1 + 50 * rng_.Uniform() * rng_.Uniform();
      node.links.push_back({.to = other.id,
                            .rtt_ms = rtt_ms,
                            .rtt_p99_ms = rtt_ms * (1 + 4 * rng_.Uniform()),
                            .mbps = 1000 * rng_.Uniform() * rng_.Uniform(),
                            .measured_s = 1});
    }
    return TellRecord(node);
  }
  node.speed = 0.5 + 8 * rng_.Uniform();
  constexpr uint32_t kShares[] = {0, 0, 0, 50, wire::kAllWithheld};
  node.withheld = kShares[rng_.Below(std::size(kShares))];
  TellRecord(node);
}

void World::Work() {
  Node& node = nodes_[rng_.Below(nodes_.size())];
  if (!node.running || node.paused) return;
  const ModelShape& model = models_[rng_.Below(models_.size())];
  const uint64_t dice = rng_.Below(100);
  if (dice < 25) {
    const bool splits = Chance(0.3);
    const bool many = Chance(0.4);
    constexpr wire::Split kSplits[] = {wire::Split::kLayer, wire::Split::kTensor,
                                       wire::Split::kHybrid};
    const wire::Split split = kSplits[next_ticket_ % std::size(kSplits)];
    Ask(node, EnsureModel{.ticket = next_ticket_++,
                          .model = model.id,
                          .split = splits ? split : wire::Split::kAuto,
                          .use = many ? wire::Use::kThroughput : wire::Use::kAuto});
  } else if (dice < 28) {
    Ask(node, UnloadModel{.ticket = next_ticket_++, .model = model.id});
  } else if (dice < 30) {
    Ask(node, PlanModel{.ticket = next_ticket_++, .model = model.id});
  } else if (dice < 38 && !requests_.empty()) {
    auto at = requests_.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(rng_.Below(requests_.size())));
    Request& request = at->second;
    if (request.state != Request::kOpen || nodes_[request.entry].paused) return;
    request.state = Request::kCancelled;
    ++result_.cancelled;
    Tell(nodes_[request.entry], CancelLocal{at->first});
  } else if (dice < 48 && !requests_.empty()) {
    auto at = requests_.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(rng_.Below(requests_.size())));
    if (at->second.state != Request::kOpen) return;
    Tell(nodes_[at->second.entry], PauseLocal{at->first, true});
    After(Jitter(1000, 3'000'000), [this, id = at->first] {
      const Request& request = requests_.at(id);
      if (request.state == Request::kOpen) Tell(nodes_[request.entry], PauseLocal{id, false});
    });
  } else {
    SubmitRequest(node);
  }
}

void World::SubmitRequest(Node& node) {
  wire::Submit submit;
  for (uint8_t& byte : submit.request.bytes) byte = static_cast<uint8_t>(rng_.Next());
  const uint64_t length = 1 + rng_.Below(Chance(0.2) ? 40 : 8);
  // Many go on with what another one said, as the turns of a chat do.
  if (Chance(0.5)) {
    submit.prompt = last_text_;
    submit.prompt.resize(std::min(submit.prompt.size(), rng_.Below(length)));
  }
  while (submit.prompt.size() < length)
    submit.prompt.push_back(static_cast<TokenId>(rng_.Below(9999)));
  submit.prompt_tokens = static_cast<uint32_t>(length);
  submit.max_new_tokens = 1 + static_cast<uint32_t>(rng_.Below(20));
  submit.sampler.seed = rng_.Next();
  submit.stop_tokens = {kStopToken};
  Request& request = requests_[submit.request];
  request.entry = node.index;
  request.generation = node.generation;
  request.expected = Oracle(submit.prompt, submit.sampler.seed, submit.max_new_tokens);
  last_text_ = submit.prompt;
  last_text_.insert(last_text_.end(), request.expected.begin(), request.expected.end());
  ++result_.requests;
  Tell(node, SubmitLocal{submit, models_[rng_.Below(models_.size())].id});
}

void World::Fault() {
  Node& node = nodes_[rng_.Below(nodes_.size())];
  const size_t other = rng_.Below(nodes_.size());
  const uint64_t dice = rng_.Below(100);
  if (dice < 20) {
    Crash(node);
    After(Jitter(100'000, 9'000'000), [this, &node] {
      if (!node.running) Start(node);
    });
  } else if (dice < 35) {
    Pause(node);
    After(Jitter(50'000, Chance(0.3) ? 25'000'000 : 4'000'000), [this, &node] { Resume(node); });
  } else if (dice < 50 && other != node.index) {
    Pair& pair = PairOf(node.index, other);
    if (pair.cut_since) return;
    ++result_.partitions;
    pair.cut_since = now_;
    After(Jitter(100'000, 12'000'000), [this, &pair, a = node.index, other] {
      if (!pair.cut_since) return;
      Break(a, other, "broken by a cut");
      pair.cut_since.reset();
    });
  } else if (other != node.index) {
    Break(node.index, other, "reset");
  }
}

void World::Heal() {
  calm_ = true;
  tick_ = std::chrono::milliseconds(400);
  for (auto& [key, pair] : pairs_) {
    if (pair.cut_since) Break(key.first, key.second, "broken by a cut");
    pair.cut_since.reset();
  }
  for (Node& node : nodes_) {
    if (!node.running) Start(node);
    Resume(node);
  }
}

void World::UnloadAll() {
  for (const ModelShape& model : models_) {
    Ask(nodes_[rng_.Below(nodes_.size())],
        UnloadModel{.ticket = next_ticket_++, .model = model.id});
  }
}

// ---- invariants ----

void World::OnTokens(Node& node, const RequestTokens& tokens) {
  const auto at = requests_.find(tokens.request);
  if (at == requests_.end()) return Fail("tokens for a request that nobody made");
  Request& request = at->second;
  if (request.entry != node.index || request.generation != node.generation)
    return Fail("tokens at another entry");
  if (request.state != Request::kOpen) return Fail("tokens after the end of a request");
  for (const TokenId token : tokens.tokens) {
    Trace(static_cast<uint64_t>(token));
    if (request.emitted >= request.expected.size() || request.expected[request.emitted] != token) {
      return Fail(fmt::format("token {} of request {} differs from the single device's",
                              request.emitted, tokens.request.Short()));
    }
    ++request.emitted;
    ++result_.tokens;
  }
}

void World::OnFinished(Node& node, const wire::Finished& finished) {
  const auto at = requests_.find(finished.request);
  if (at == requests_.end() || at->second.entry != node.index)
    return Fail("the end of a request that nobody made");
  Request& request = at->second;
  if (request.state != Request::kOpen) return Fail("a request ended twice");
  request.state = Request::kDone;
  if (finished.reason == wire::FinishReason::kError) {
    ++result_.failed;
    result_.last_error = finished.message;
    if (finished.message.empty()) Fail("an error without words");
    return;
  }
  ++result_.completed;
  if (request.emitted != request.expected.size()) {
    Fail(fmt::format("request {} ended after {} of {} tokens", finished.request.Short(),
                     request.emitted, request.expected.size()));
  }
}

void World::CheckMemory(const Node& node) {
  if (!node.core) return;
  uint64_t taken = 0;
  for (const auto& [plan, bytes] : node.allocated) taken += bytes;
  if (taken > node.budget)
    Fail(fmt::format("node{} holds {} of {} bytes", node.index, taken, node.budget));
  if (node.core->reserved_bytes() < taken)
    Fail(fmt::format("node{} holds memory that it did not promise", node.index));
}

void World::CheckQuiet() {
  for (const auto& [id, request] : requests_) {
    if (request.state != Request::kOpen) continue;
    const Node& entry = nodes_[request.entry];
    return Fail(fmt::format(
        "request {} never ended: {} of {} tokens at node{}, which knows {} requests", id.Short(),
        request.emitted, request.expected.size(), entry.index, entry.core->entry_requests()));
  }
  std::set<PlanId> first;
  for (Node& node : nodes_) {
    if (node.tickets != 0)
      return Fail(fmt::format("node{} never answered {} questions", node.index, node.tickets));
    if (node.core->entry_requests() + node.core->lead_requests() != 0)
      return Fail("requests are left over");
    for (const NodeStatus& status : node.core->Nodes()) {
      if (status.state != PeerState::kAlive) {
        return Fail(fmt::format("node{} believes that {} is {}", node.index, status.record.name,
                                PeerStateName(status.state)));
      }
    }
    std::set<PlanId> ready;
    std::map<ModelId, const wire::InstanceSummary*> models;
    const std::vector<InstanceStatus> instances = node.core->Instances();
    for (const InstanceStatus& instance : instances) {
      if (instance.summary.state != wire::InstanceState::kReady) continue;
      ready.insert(instance.summary.plan.id);
      if (instance.owned && instance.summary.plan.owner != node.id) ++result_.adopted;
      const auto [first_of, alone] =
          models.try_emplace(instance.summary.plan.model, &instance.summary);
      if (alone) continue;
      ++result_.replicas;
      if (first_of->second->owner != instance.summary.owner)
        return Fail("two instances of one model with different owners");
      if (first_of->second->plan.context != instance.summary.plan.context)
        return Fail("two replicas with different contexts");
    }
    if (&node == &nodes_[0]) first = ready;
    if (ready != first)
      return Fail(fmt::format("node{} sees other instances than node0", node.index));
  }
  CheckDesired();
}

// All members hold the same records, on disk too, and what runs is what they say.
void World::CheckDesired() {
  const std::vector<wire::DesiredModel> records = nodes_[0].core->DesiredRecords();
  for (Node& node : nodes_) {
    if (node.core->DesiredRecords() != records || node.disk != records)
      return Fail(fmt::format("node{} has other desired models than node0", node.index));
    for (const InstanceStatus& instance : node.core->Instances()) {
      const auto at = std::find_if(records.begin(), records.end(), [&](const auto& record) {
        return record.model == instance.summary.plan.model;
      });
      // One that is being planned is written down when it is ready.
      const bool ready = instance.summary.state == wire::InstanceState::kReady;
      if (ready && (at == records.end() || at->state != wire::DesiredState::kRunning))
        return Fail(fmt::format("node{} sees an instance that nobody desires", node.index));
    }
  }
}

void World::CheckUnloaded() {
  CheckDesired();
  for (Node& node : nodes_) {
    if (node.tickets != 0)
      return Fail(fmt::format("node{} never answered {} questions", node.index, node.tickets));
    for (const wire::DesiredModel& record : node.core->DesiredRecords()) {
      if (record.state != wire::DesiredState::kUnloaded) return Fail("a model is still desired");
    }
    if (node.core->reserved_bytes() != 0 || !node.allocated.empty() || !node.runners.empty()) {
      return Fail(fmt::format("node{} still holds {} bytes after unloading", node.index,
                              node.core->reserved_bytes()));
    }
    if (!node.core->Instances().empty())
      return Fail(fmt::format("node{} still sees an instance", node.index));
  }
}

}  // namespace exo::sim
