#include "service/admin/live_states.h"

#include <utility>

namespace exo::service::admin {
namespace {

// The shortest pace of any state: four times a second look alive to people.
constexpr std::chrono::milliseconds kLookPace{250};

}  // namespace

LiveStates::LiveStates(boost::asio::io_context& context, std::vector<Topic> topics)
    : timer_(context) {
  for (Topic& topic : topics) kept_.push_back({.topic = std::move(topic)});
}

std::unique_ptr<LiveStates::Listening> LiveStates::Listen(LiveListener& listener) {
  auto listening = listeners_.Add(listener);
  Look();
  if (!std::exchange(ticking_, true)) Tick();
  return listening;
}

void LiveStates::Take(
    const Caller& caller, Versions& seen,
    const std::function<void(const std::string& event, const std::string& data)>& tell) {
  seen.resize(kept_.size());
  for (size_t i = 0; i < kept_.size(); ++i) {
    const auto& [topic, state, version, due] = kept_[i];
    if (std::exchange(seen[i], version) == version) continue;
    tell(topic.event, topic.for_caller ? topic.for_caller(caller) : state.data);
  }
}

void LiveStates::Look() {
  const auto now = Clock::now();
  for (Kept& kept : kept_) {
    if (now < kept.due) continue;
    kept.due = now + kept.topic.pace;
    LiveState state = kept.topic.read();
    if (state.key.empty()) state.key = state.data;
    if (kept.version > 0 && state.key == kept.state.key) continue;
    kept.state = std::move(state);
    ++kept.version;
  }
}

void LiveStates::Tick() {
  timer_.expires_after(kLookPace);
  timer_.async_wait(
      [this, alive = std::weak_ptr<char>(alive_)](const boost::system::error_code& error) {
        if (error || alive.expired()) return;
        if (listeners_.empty()) {
          ticking_ = false;
          return;
        }
        Look();
        listeners_.Each([](LiveListener& listener) { listener.OnStates(); });
        Tick();
      });
}

}  // namespace exo::service::admin
