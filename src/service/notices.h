// Word for some of those who follow the stream of events: something of theirs has changed. Unlike a
// state (admin/live_states.h) it is told once.
//
// Thread: the event loop. Owner: app; outlives the servers.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "service/http/access.h"
#include "service/json.h"
#include "service/listeners.h"

namespace exo::service {

class NoticeListener {
 public:
  virtual ~NoticeListener() = default;
  // Who listens; what is told to others is none of its business.
  virtual const Caller& caller() const = 0;
  // `data`: JSON.
  virtual void OnNotice(std::string_view event, const std::string& data) = 0;
};

class Notices {
 public:
  using Listening = Listeners<NoticeListener>::Place;

  // Tells those of whom `concerns` is true.
  void Tell(std::string_view event, const Json& data,
            const std::function<bool(const Caller&)>& concerns) {
    if (listeners_.empty()) return;
    const std::string text = Dump(data);
    listeners_.Each([&](NoticeListener& listener) {
      if (concerns(listener.caller())) listener.OnNotice(event, text);
    });
  }
  std::unique_ptr<Listening> Listen(NoticeListener& listener) { return listeners_.Add(listener); }

 private:
  Listeners<NoticeListener> listeners_;
};

}  // namespace exo::service
