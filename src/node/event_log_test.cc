// State changes: numbered, kept for a while, and found from what the core shows.
#include "node/event_log.h"

#include <gtest/gtest.h>

#include "base/log.h"
#include "node/state_watch.h"

namespace exo::node {
namespace {

struct Watcher final : EventWatcher {
  void OnEvent(const StateEvent& event) override {
    events.push_back(event);
    if (end_at_once) subscription.reset();
  }
  std::vector<StateEvent> events;
  std::unique_ptr<EventSubscription> subscription;
  bool end_at_once = false;
};

TEST(EventLogTest, SubscribersHearWhatComesAfterTheirNumber) {
  EventLog log(100);
  for (int i = 0; i < 5; ++i) log.Add({.state = std::to_string(i)});  // 100 to 104
  Watcher watcher;
  Subscribed got = log.Subscribe(102, watcher);
  EXPECT_FALSE(got.missed);
  EXPECT_EQ(got.sequence, 104u);
  ASSERT_EQ(got.past.size(), 2u);
  EXPECT_EQ(got.past[0].sequence, 103u);
  EXPECT_GT(got.past[0].time_ms, 1'600'000'000'000);
  log.Add({.state = "new"});
  ASSERT_EQ(watcher.events.size(), 1u);
  EXPECT_EQ(watcher.events[0].sequence, 105u);
  got.subscription.reset();
  log.Add({.state = "late"});
  EXPECT_EQ(watcher.events.size(), 1u);
}

TEST(EventLogTest, SaysWhenEventsWereMissed) {
  EventLog log(1'000'000);
  Watcher watcher;
  EXPECT_FALSE(log.Subscribe(std::nullopt, watcher).missed);
  EXPECT_FALSE(log.Subscribe(999'999, watcher).missed);
  EXPECT_TRUE(log.Subscribe(5, watcher).missed);          // of an earlier run
  EXPECT_TRUE(log.Subscribe(2'000'000, watcher).missed);  // of the future
  for (size_t i = 0; i < kKeptEvents + 10; ++i) log.Add({});
  EXPECT_TRUE(log.Subscribe(1'000'000 + 8, watcher).missed);  // the next one is not kept
  const Subscribed all = log.Subscribe(1'000'000 + 9, watcher);
  EXPECT_FALSE(all.missed);
  EXPECT_EQ(all.past.size(), kKeptEvents);
}

TEST(EventLogTest, AWatcherMayEndItsSubscriptionInACall) {
  EventLog log(1);
  Watcher first, second;
  first.end_at_once = true;
  first.subscription = log.Subscribe(std::nullopt, first).subscription;
  second.subscription = log.Subscribe(std::nullopt, second).subscription;
  log.Add({});
  log.Add({});
  EXPECT_EQ(first.events.size(), 1u);
  EXPECT_EQ(second.events.size(), 2u);
}

NodeId Id(uint8_t value) {
  NodeId id;
  id.bytes.fill(value);
  return id;
}

std::vector<std::string> g_lines;

TEST(EventLogTest, EachLineBeginsWithWhatItIsAbout) {
  g_lines.clear();
  SetLog([](LogLevel, std::string_view line) { g_lines.emplace_back(line); }, LogLevel::kInfo);
  EventLog log(1);
  log.Add({.kind = EventKind::kPeer, .node = Id(2), .name = "desk", .state = "alive"});
  log.Add({.kind = EventKind::kInstance,
           .node = Id(2),
           .id = "c0ffee00000000000000000000000000",
           .name = "tiny",
           .state = "gone",
           .detail = "unloaded"});
  log.Add({.kind = EventKind::kRequest,
           .node = Id(1),
           .id = "ff7f203b000000000000000000000000",
           .name = "tiny",
           .state = "finished",
           .detail = "stop"});
  SetLog(nullptr, LogLevel::kWarning);
  EXPECT_EQ(g_lines, (std::vector<std::string>{
                         "peer=02020202 desk: alive",
                         "plan=c0ffee00 node=02020202 tiny: gone: unloaded",
                         "request=ff7f203b node=01010101 tiny: finished: stop",
                     }));
}

TEST(StateWatchTest, TellsEachChangeOnce) {
  EventLog log(1);
  Watcher watcher;
  const auto subscription = log.Subscribe(std::nullopt, watcher).subscription;
  StateWatch watch(log, [](const NodeId& id) { return id.Short(); });
  std::vector<cluster::NodeStatus> nodes(2);
  nodes[0].self = true;
  nodes[1] = {.record = {.id = Id(2), .name = "desk"}, .state = cluster::PeerState::kAlive};
  std::vector<cluster::InstanceStatus> instances(1);
  instances[0].summary = {
      .plan = {.model_name = "tiny"}, .owner = Id(2), .state = wire::InstanceState::kLoading};
  const auto states = [&] {
    std::vector<std::string> list;
    for (const StateEvent& event : std::exchange(watcher.events, {}))
      list.push_back(event.name + " " + event.state);
    return list;
  };
  using List = std::vector<std::string>;
  watch.Look(nodes, instances);
  EXPECT_EQ(states(), (List{"desk alive", "tiny loading"}));
  watch.Look(nodes, instances);
  EXPECT_EQ(states(), List{});
  nodes[1].state = cluster::PeerState::kSuspect;
  nodes[1].detail = "silent";
  instances[0].summary.state = wire::InstanceState::kReady;
  watch.Look(nodes, instances);
  EXPECT_EQ(watcher.events[0].detail, "silent");
  EXPECT_EQ(watcher.events[1].node, Id(2));
  EXPECT_EQ(states(), (List{"desk suspect", "tiny ready"}));
  nodes.pop_back();
  instances.clear();
  watch.Look(nodes, instances);
  EXPECT_EQ(states(), (List{"desk forgotten", "tiny gone"}));
}

}  // namespace
}  // namespace exo::node
