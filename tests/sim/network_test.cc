// Sessions and data links of the simulated world. A session keeps order and loses nothing while it
// lasts; when it breaks, what is in flight is lost. A cut pair delivers nothing; its session breaks
// when the cut ends or after a while. Data links may lose, double and (to a node that was paused)
// reorder frames, which TLS never does: the fences must hold anyway.
#include <algorithm>

#include "sim/world.h"

namespace exo::sim {

void World::Connect(size_t a, size_t b) {
  Pair& pair = PairOf(a, b);
  pair.up = true;
  const uint64_t epoch = ++pair.epoch;
  for (const auto& [to, from] : {std::pair(a, b), std::pair(b, a)}) {
    Node& node = nodes_[to];
    Node& peer = nodes_[from];
    const Time delay = Jitter(100, 2000);
    pair.last_delivery[from < to ? 0 : 1] = now_ + delay;  // no message before its session
    After(delay, [this, &node, &peer, &pair, epoch, generation = node.generation,
                  peer_generation = peer.generation] {
      if (pair.epoch != epoch || node.generation != generation ||
          peer.generation != peer_generation)
        return;
      Tell(node, SessionUp{.peer = peer.id,
                           .boot_nonce = peer.generation * 1000 + peer.index,
                           .name = "",
                           .address = {"10.0.0.1", static_cast<uint16_t>(5000 + peer.index)}});
    });
  }
}

// Both sides notice, one after the other; what is in flight is lost.
void World::Break(size_t a, size_t b, const std::string& reason) {
  Pair& pair = PairOf(a, b);
  if (!pair.up) return;
  ++result_.resets;
  pair.up = false;
  ++pair.epoch;
  pair.not_before = now_ + Jitter(20'000, 600'000);
  TellLater(nodes_[a], Jitter(100, 5000), SessionDown{nodes_[b].id, reason});
  TellLater(nodes_[b], Jitter(100, 5000), SessionDown{nodes_[a].id, reason});
}

void World::Network() {
  for (size_t a = 0; a < nodes_.size(); ++a) {
    for (size_t b = a + 1; b < nodes_.size(); ++b) {
      Pair& pair = PairOf(a, b);
      if (pair.up && pair.cut_since && now_ - *pair.cut_since > std::chrono::seconds(8))
        Break(a, b, "timed out");
      const bool can =
          nodes_[a].running && nodes_[b].running && !nodes_[a].paused && !nodes_[b].paused;
      if (!pair.up && can && !pair.cut_since && now_ >= pair.not_before) Connect(a, b);
    }
  }
}

void World::SendMessage(Node& from, const NodeId& to_id, const wire::Message& message) {
  Node& to = ById(to_id);
  Pair& pair = PairOf(from.index, to.index);
  if (!pair.up || pair.cut_since) return;
  Time& last = pair.last_delivery[from.index < to.index ? 0 : 1];
  last = std::max(last + std::chrono::nanoseconds(1), now_ + Jitter(100, calm_ ? 1500 : 40'000));
  After(last - now_,
        [this, &from, &to, &pair, epoch = pair.epoch, generation = to.generation, message] {
          if (pair.epoch != epoch || pair.cut_since || to.generation != generation) return;
          Tell(to, Received{from.id, message});
        });
}

void World::SendData(Node& from, const NodeId& to, DataFrame frame) {
  const size_t target = by_id_.at(to);
  if (target != from.index && PairOf(from.index, target).cut_since) return;
  if (!calm_ && Chance(0.004)) {  // lost, and with it mostly the link
    if (!Chance(0.9)) return;
    for (const NodeId& end : {from.id, to}) {
      const NodeId& other = end == to ? from.id : to;
      TellLater(ById(end), Jitter(200, 3000),
                StageFailed{frame.step.plan, {ErrorCode::kDisconnected, "link reset"}, other});
    }
    return;
  }
  const int copies = !calm_ && Chance(0.01) ? 2 : 1;
  Time& last = last_data_[{from.index, target}];
  if (slow_ && from.index == 1) {
    if (slow_->kind == SlowStage::kHung) {
      from.busy_until = now_ + std::chrono::hours(24);
      return;
    }
    from.busy_until = std::max(from.busy_until, now_) + slow_->step;
    last = std::max(last, from.busy_until);
  }
  for (int i = 0; i < copies; ++i) {
    last = std::max(last + std::chrono::nanoseconds(1), now_ + Jitter(300, calm_ ? 2000 : 60'000));
    After(last - now_, [this, to, frame] { DeliverData(to, frame); });
  }
}

// To every instance of the model on that node, not only to the right one: real links belong to one
// plan, here the fence must keep stale frames out.
// What has to wait there holds up what comes behind it: links keep their order.
void World::DeliverData(const NodeId& to, DataFrame frame) {
  std::deque<DataFrame>& held = held_[to];
  held.push_back(std::move(frame));
  if (held.size() == 1) DeliverHeld(to);
}

void World::DeliverHeld(const NodeId& to) {
  Node& node = ById(to);
  std::deque<DataFrame>& held = held_[to];
  while (!held.empty()) {
    if (!node.running) return held.clear();
    if (node.paused) return After(std::chrono::milliseconds(200), [this, to] { DeliverHeld(to); });
    // A real link is connected when both ends serve.
    const PlanId& plan_of_frame = held.front().step.plan;
    if (!node.runners.contains(plan_of_frame) &&
        node.core->PlanOfReservation(plan_of_frame) != nullptr)
      return After(std::chrono::milliseconds(5), [this, to] { DeliverHeld(to); });
    std::vector<Runner*> runners;
    for (auto& [plan, runner] : node.runners) runners.push_back(runner.get());
    for (Runner* runner : runners) runner->OnFrame(held.front(), now_);
    held.pop_front();
  }
}

}  // namespace exo::sim
