// States that pages follow: each is told whole, when it is another than before. A reader that is
// slow gets the newest one, so that nothing queues up for it. Nothing is computed while nobody
// listens, and however many do, a state is written out once for all who see the same of it, and
// looked at the more seldom.
//
// Thread: the event loop.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "service/http/access.h"
#include "service/listeners.h"

namespace exo::service::admin {

struct LiveState {
  std::string data;      // JSON; of a state that each caller sees another part of: not used
  std::string key = {};  // it is another when this is; empty: when the data are
};

// One kind of state.
struct Topic {
  std::string event;               // its name in the stream
  std::chrono::milliseconds pace;  // it is looked at once in so long, or more seldom (kFastPages)
  std::function<LiveState()> read;
  // What of it a caller may see, by its key and whether it administers; null: `data`.
  std::function<std::string(const Caller&)> for_caller = nullptr;
};

class LiveListener {
 public:
  virtual ~LiveListener() = default;
  // Some states may be others than a moment ago: LiveStates::Take.
  virtual void OnStates() = 0;
};

class LiveStates {
 public:
  using Listening = Listeners<LiveListener>::Place;
  // As many pages hear of states at their pace; n times as many hear of them n times as seldom, so
  // that a crowd costs no more than that.
  static constexpr size_t kFastPages = 64;

  LiveStates(boost::asio::io_context& context, std::vector<Topic> topics);

  std::unique_ptr<Listening> Listen(LiveListener& listener);
  // tell(event, data) for each state that is newer than those that `seen` stands for, which then
  // stands for these. At first it is empty: all are newer.
  using Versions = std::vector<uint64_t>;
  void Take(const Caller& caller, Versions& seen,
            const std::function<void(const std::string& event, const std::string& data)>& tell);

 private:
  using Clock = std::chrono::steady_clock;
  using Audience = std::pair<uint64_t, bool>;  // a caller's key; it administers
  struct Kept {
    Topic topic;
    LiveState state;
    std::map<Audience, std::string> seen_by = {};  // of this version
    uint64_t version = 0;
    Clock::time_point due{};  // when it is looked at again
  };
  static const std::string& TextFor(const Caller& caller, Kept& kept);
  void Look();
  void Tick();

  std::vector<Kept> kept_;
  Listeners<LiveListener> listeners_;
  boost::asio::steady_timer timer_;
  bool ticking_ = false;
  // A wait that was over already calls back, whatever has become of its timer.
  const std::shared_ptr<char> alive_ = std::make_shared<char>();
};

}  // namespace exo::service::admin
