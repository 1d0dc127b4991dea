#include "service/admin/events.h"

#include <charconv>
#include <map>
#include <utility>

#include "service/fields.h"
#include "service/http/paths.h"
#include "service/json.h"

namespace exo::service::admin {
namespace {

// Changed conversations that are told together to a reader that is slow; one that misses more reads
// everything again.
constexpr size_t kMaxChanges = 1024;

std::string Framed(std::string_view name, std::string_view data) {
  return fmt::format("event: {}\ndata: {}\n\n", name, data);
}
std::string Numbered(uint64_t sequence, std::string_view name, const Json& data) {
  return fmt::format("id: {}\n{}", sequence, Framed(name, Dump(data)));
}

std::string Encode(const node::StateEvent& event) {
  return Numbered(event.sequence, node::EventKindName(event.kind),
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

// After which event the stream goes on. The field of the header is what browsers send by
// themselves: one that is none of ours means that the client knows nothing.
Parsed<std::optional<uint64_t>> SinceOf(const HttpRequest& request) {
  if (!request.last_event_id.empty()) return ParseId(request.last_event_id);
  const auto field = QueryField(request.query, "since");
  if (!field) return std::nullopt;
  if (const auto id = ParseId(*field)) return id;
  return BadValue("since", fmt::format("'since' is {}, but must be the id of an event: a whole "
                                       "number of 64 bits",
                                       Shown(*field)));
}

// A reader that is too slow is told nothing until it has caught up: then what it missed of the
// numbered events, or the word that it did, and the newest of each state.
class EventStream final : public Handler,
                          private node::EventWatcher,
                          private LiveListener,
                          private node::ConversationWatcher {
 public:
  EventStream(const EventSources& sources, Exchange& exchange, Caller caller)
      : sources_(sources), exchange_(exchange), caller_(std::move(caller)) {}

  void Start(std::optional<uint64_t> since) {
    exchange_.StartStream(kServerSentEvents);
    if (node::Conversations* kept = sources_.api.conversations())
      conversations_ = kept->Watch(caller_.key, *this);
    Follow(since);
  }
  void SetPaused(bool paused) override {
    paused_ = paused;
    if (!paused) return Follow(last_);
    subscription_.reset();
    states_.reset();
  }

 private:
  void Follow(std::optional<uint64_t> since) {
    node::Subscribed now = sources_.api.Subscribe(since, *this);
    subscription_ = std::move(now.subscription);
    const bool missed = now.missed || std::exchange(missed_changes_, false);
    if (!since || missed) {
      last_ = now.sequence;
      exchange_.Push(Numbered(last_, missed ? "missed" : "resync", {{"sequence", last_}}));
    } else {
      last_ = *since;
      for (const node::StateEvent& event : now.past) OnEvent(event);
    }
    TellChanges();
    states_ = sources_.states->Listen(*this);
    OnStates();
  }
  void OnEvent(const node::StateEvent& event) override {
    last_ = event.sequence;
    exchange_.Push(Encode(event));
  }
  void OnStates() override {
    if (caller_.IsGone()) return exchange_.EndStream(false);
    sources_.states->Take(caller_, seen_,
                          [this](const std::string& event, const std::string& data) {
                            exchange_.Push(Framed(event, data));
                          });
  }
  void OnConversations(std::span<const node::ConversationChange> changes) override {
    for (const node::ConversationChange& change : changes) changes_[change.id] = change.deleted;
    if (!paused_) return TellChanges();
    if (changes_.size() <= kMaxChanges) return;
    changes_.clear();
    missed_changes_ = true;
  }
  void TellChanges() {
    if (changes_.empty()) return;
    Json changed = Json::array(), deleted = Json::array();
    for (const auto& [id, is_deleted] : std::exchange(changes_, {}))
      (is_deleted ? deleted : changed).push_back(id.Hex());
    exchange_.Push(Framed("conversations", Dump({{"changed", changed}, {"deleted", deleted}})));
  }

  const EventSources sources_;
  Exchange& exchange_;
  const Caller caller_;
  bool paused_ = false;
  uint64_t last_ = 0;  // the last event that was written
  LiveStates::Versions seen_;
  std::map<ConversationId, bool> changes_;  // that were not told yet; true: deleted
  bool missed_changes_ = false;
  std::unique_ptr<node::EventSubscription> subscription_;
  std::unique_ptr<LiveStates::Listening> states_;
  std::unique_ptr<node::ConversationSubscription> conversations_;
};

}  // namespace

Route EventsRoute(EventSources sources) {
  return {.method = "GET",
          .path = "/v1/internal/events",
          .scope = Scope::kModels,
          .read = [sources](HttpRequest request) -> Parsed<Action> {
            return [sources, since = TRY(SinceOf(request)),
                    caller = request.caller](Exchange& exchange) -> std::unique_ptr<Handler> {
              auto stream = std::make_unique<EventStream>(sources, exchange, caller);
              stream->Start(since);
              return stream;
            };
          },
          .listed = false};
}

}  // namespace exo::service::admin
