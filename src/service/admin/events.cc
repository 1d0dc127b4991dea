#include "service/admin/events.h"

#include <charconv>

#include "service/json.h"

namespace exo::service::admin {
namespace {

std::string Framed(uint64_t sequence, const char* name, const Json& data) {
  return fmt::format("id: {}\nevent: {}\ndata: {}\n\n", sequence, name, Dump(data));
}

std::string Encode(const node::StateEvent& event) {
  return Framed(event.sequence, node::EventKindName(event.kind),
                {{"sequence", event.sequence},
                 {"time_ms", event.time_ms},
                 {"node", event.node.Hex()},
                 {"id", event.id},
                 {"name", event.name},
                 {"state", event.state},
                 {"detail", event.detail}});
}

std::optional<uint64_t> ParseId(std::string_view text) {
  uint64_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return id;
}

// A reader that is too slow loses its subscription instead of filling memory, and gets what it
// missed, or the word to read everything again, when it has caught up.
class EventStream final : public Handler, private node::EventWatcher {
 public:
  EventStream(node::Api& api, Exchange& exchange) : api_(api), exchange_(exchange) {}

  void Start(std::optional<uint64_t> since) {
    exchange_.StartStream(kServerSentEvents);
    Follow(since);
  }
  void SetPaused(bool paused) override {
    if (paused) return subscription_.reset();
    Follow(last_);
  }

 private:
  // A client that knows nothing yet reads the state first, as does one that missed something.
  void Follow(std::optional<uint64_t> since) {
    node::Subscribed now = api_.Subscribe(since, *this);
    subscription_ = std::move(now.subscription);
    if (!since || now.missed) {
      last_ = now.sequence;
      return exchange_.Push(Framed(last_, "resync", {{"sequence", last_}}));
    }
    last_ = *since;
    for (const node::StateEvent& event : now.past) OnEvent(event);
  }
  void OnEvent(const node::StateEvent& event) override {
    last_ = event.sequence;
    exchange_.Push(Encode(event));
  }

  node::Api& api_;
  Exchange& exchange_;
  uint64_t last_ = 0;  // the last event that was written
  std::unique_ptr<node::EventSubscription> subscription_;
};

}  // namespace

Route EventsRoute(node::Api& api) {
  return {.method = "GET",
          .path = "/v1/internal/events",
          .read = [&api](HttpRequest request) -> Parsed<Action> {
            return [&api, since = ParseId(request.last_event_id)](
                       Exchange& exchange) -> std::unique_ptr<Handler> {
              auto stream = std::make_unique<EventStream>(api, exchange);
              stream->Start(since);
              return stream;
            };
          },
          .listed = false};
}

}  // namespace exo::service::admin
