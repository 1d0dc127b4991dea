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
    if (std::exchange(seen[i], kept_[i].version) == kept_[i].version) continue;
    tell(kept_[i].topic.event, TextFor(caller, kept_[i]));
  }
}

const std::string& LiveStates::TextFor(const Caller& caller, Kept& kept) {
  if (!kept.topic.for_caller) return kept.state.data;
  const auto [text, is_new] =
      kept.seen_by.try_emplace({caller.key, caller.May(Scope::kAdmin)}, std::string());
  if (is_new) text->second = kept.topic.for_caller(caller);
  return text->second;
}

void LiveStates::Look() {
  const auto now = Clock::now();
  for (Kept& kept : kept_) {
    if (now < kept.due) continue;
    kept.due = now + kept.topic.pace * (1 + listeners_.size() / kFastPages);
    LiveState state = kept.topic.read();
    if (state.key.empty()) state.key = state.data;
    if (kept.version > 0 && state.key == kept.state.key) continue;
    kept.state = std::move(state);
    kept.seen_by.clear();
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
