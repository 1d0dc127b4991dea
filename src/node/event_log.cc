#include "node/event_log.h"

#include "base/log.h"
#include "sys/system.h"

namespace exo::node {
namespace {

// What the line is about comes first and has one form, so that all lines of one request, plan or
// peer can be found.
std::string SubjectOf(const StateEvent& event) {
  const std::string id = event.id.substr(0, event.node.Short().size());
  switch (event.kind) {
    case EventKind::kPeer:
      return fmt::format("peer={} {}", event.node.Short(), event.name);
    case EventKind::kInstance:
      return fmt::format("plan={} node={} {}", id, event.node.Short(), event.name);
    case EventKind::kRequest:
      return fmt::format("request={} node={} {}", id, event.node.Short(), event.name);
  }
  return event.name;
}

void Log(const StateEvent& event) {
  LOG(kInfo, "{}: {}{}{}", SubjectOf(event), event.state, event.detail.empty() ? "" : ": ",
      event.detail);
}

}  // namespace

class EventLog::Subscription final : public EventSubscription {
 public:
  Subscription(std::shared_ptr<Watchers> watchers, uint64_t key)
      : watchers_(std::move(watchers)), key_(key) {}
  ~Subscription() override { watchers_->erase(key_); }

 private:
  const std::shared_ptr<Watchers> watchers_;
  const uint64_t key_;
};

EventLog::EventLog(uint64_t first) : next_(first) {}

void EventLog::Add(StateEvent event) {
  event.sequence = next_++;
  event.time_ms = sys::WallClockMilliseconds();
  Log(event);
  kept_.push_back(event);
  if (kept_.size() > kKeptEvents) kept_.pop_front();
  // A watcher may end its own subscription or others.
  const Watchers now = *watchers_;
  for (const auto& [key, watcher] : now) {
    if (watchers_->contains(key)) watcher->OnEvent(event);
  }
}

Subscribed EventLog::Subscribe(std::optional<uint64_t> since, EventWatcher& watcher) {
  Subscribed out{.sequence = last()};
  if (since) {
    // Beyond the last one: a number of another node, or of a clock that was set back.
    const uint64_t oldest = kept_.empty() ? next_ : kept_.front().sequence;
    out.missed = *since + 1 < oldest || *since > last();
    for (const StateEvent& event : kept_) {
      if (out.missed || event.sequence > *since) out.past.push_back(event);
    }
  }
  watchers_->emplace(next_watcher_, &watcher);
  out.subscription = std::make_unique<Subscription>(watchers_, next_watcher_++);
  return out;
}

}  // namespace exo::node
