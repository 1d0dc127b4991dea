#include "node/conversation_keeper.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/log.h"
#include "sys/system.h"

namespace exo::node {
namespace {

constexpr Time kSyncTick = std::chrono::seconds(1);
constexpr Time kCompactEach = std::chrono::hours(24);
// News of rows that came from a member: the others have most likely heard of them too.
constexpr Time kRelayDelay = std::chrono::seconds(2);

// The page shows a row's data as JSON, and puts it between other JSON as it is.
bool IsJsonObject(std::string_view data) {
  return data.starts_with('{') && data.ends_with('}') && nlohmann::json::accept(data);
}

store::ConversationFileOptions Checked(store::ConversationFileOptions options) {
  options.is_data = &IsJsonObject;
  return options;
}

// What a job brings back: its result, and what it has changed.
template <class T>
struct Worked {
  Result<T> result;
  std::vector<ConversationChange> changes;
};

}  // namespace

class ConversationKeeper::Subscription final : public ConversationSubscription {
 public:
  Subscription(std::shared_ptr<Watchers> watchers, uint64_t owner, ConversationWatcher& watcher)
      : watchers_(std::move(watchers)), at_(watchers_->emplace(owner, &watcher)) {}
  ~Subscription() override { watchers_->erase(at_); }

 private:
  const std::shared_ptr<Watchers> watchers_;
  const Watchers::iterator at_;
};

struct ConversationKeeper::Importing {
  std::shared_ptr<const std::vector<ImportedRow>> rows;  // a job reads them
  size_t next = 0;                                       // of them
  ImportProgress progress;
  std::function<bool(const ImportProgress&)> go_on;
  std::function<void(Result<ImportProgress>)> done;
};

ConversationKeeper::ConversationKeeper(net::EventLoop& loop, Jobs& jobs, ConversationPeers& peers,
                                       store::ConversationFileOptions file)
    : jobs_(jobs),
      peers_(peers),
      self_(file.self),
      store_(std::make_shared<store::ConversationStore>(Checked(std::move(file)))),
      relay_(loop) {}

template <class Work, class Done>
void ConversationKeeper::Run(Work work, Done done) {
  using Outcome = std::invoke_result_t<Work&, File&>;
  using T = typename Outcome::value_type;
  const auto job = [store = store_, work = std::move(work)](const std::atomic<bool>&) mutable {
    std::vector<ConversationChange> changes;
    Outcome result = store->Run([&](File& file) {
      Outcome outcome = work(file);
      changes = file.TakeChanges();
      return outcome;
    });
    return Worked<T>{std::move(result), std::move(changes)};
  };
  const auto finish = [this, done](Worked<T> worked) mutable {
    TellWatchers(worked.changes);
    done(std::move(worked.result));
  };
  if (!jobs_.Run(Jobs::Class::kIo, "conversations", job, finish))
    done(Outcome(Fail(ErrorCode::kOverloaded, "too many files are busy: try again")));
}

template <class Work, class Done>
void ConversationKeeper::RunForPeople(Work work, Done done) {
  using Outcome = std::invoke_result_t<Work&, File&>;
  if (peers_.IsMember(self_)) return Run(std::move(work), std::move(done));
  done(Outcome(Fail(ErrorCode::kInvalid,
                    "this device is a guest of its cluster, which keeps no conversations here: "
                    "ask one of the members")));
}

void ConversationKeeper::List(ConversationQuery query,
                              std::function<void(Result<ConversationPage>)> done) {
  RunForPeople([query = std::move(query)](File& file) { return file.List(query); },
               std::move(done));
}

void ConversationKeeper::Read(uint64_t owner, const ConversationId& id,
                              std::optional<MessageId> after,
                              std::function<void(Result<MessagePage>)> done) {
  RunForPeople([=](File& file) { return file.Read(owner, id, after, kPageBytes); },
               std::move(done));
}

void ConversationKeeper::Change(const wire::RowKey& key, RowChange change,
                                std::function<void(Result<WrittenRow>)> done) {
  RunForPeople([key, change = std::move(change)](File& file) { return file.Change(key, change); },
               [this, done = std::move(done)](Result<WrittenRow> written) {
                 if (written) SendNews(peers_.SessionsUp());
                 done(std::move(written));
               });
}

void ConversationKeeper::Import(std::vector<ImportedRow> rows,
                                std::function<bool(const ImportProgress&)> go_on,
                                std::function<void(Result<ImportProgress>)> done) {
  auto import = std::make_shared<Importing>();
  import->progress.total = store::CountConversations(rows);
  import->rows = std::make_shared<const std::vector<ImportedRow>>(std::move(rows));
  import->go_on = std::move(go_on);
  import->done = std::move(done);
  ImportPart(import);
}

// The next part is queued only when this one is in the file: behind what was asked meanwhile.
void ConversationKeeper::ImportPart(const std::shared_ptr<Importing>& import) {
  const auto part = store::FirstOfImport(std::span(*import->rows).subspan(import->next));
  RunForPeople([rows = import->rows, part](File& file) { return file.Import(part); },
               [this, import, part](const Result<ImportCounts>& counts) {
                 if (!counts) return EndImport(*import, counts);
                 import->next += part.size();
                 import->progress.taken += *counts;
                 const bool ends = import->next == import->rows->size();
                 if (ends || !import->go_on(import->progress)) return EndImport(*import, counts);
                 ImportPart(import);
               });
}

void ConversationKeeper::EndImport(const Importing& import, const Result<ImportCounts>& last) {
  const ImportCounts& taken = import.progress.taken;
  const size_t count = taken.added + taken.updated + taken.unchanged;
  if (taken.added + taken.updated > 0) SendNews(peers_.SessionsUp());
  if (last) return import.done(import.progress);
  std::string message = last.error().message;
  if (count > 0) {
    message += fmt::format(
        "; {} of {} conversations were taken before that: the same import again passes them over",
        count, import.progress.total);
  }
  import.done(std::unexpected(Error{last.error().code, std::move(message)}));
}

std::unique_ptr<ConversationSubscription> ConversationKeeper::Watch(uint64_t owner,
                                                                    ConversationWatcher& watcher) {
  return std::make_unique<Subscription>(watchers_, owner, watcher);
}

// A watcher may end its subscription, or another one's, while it is told.
void ConversationKeeper::TellWatchers(const std::vector<ConversationChange>& changes) {
  std::map<uint64_t, std::vector<ConversationChange>> by_owner;
  for (const ConversationChange& change : changes) by_owner[change.owner].push_back(change);
  for (const auto& [owner, its] : by_owner) {
    std::vector<ConversationWatcher*> told;
    const auto [begin, end] = watchers_->equal_range(owner);
    for (auto at = begin; at != end; ++at) told.push_back(at->second);
    for (ConversationWatcher* watcher : told) {
      const bool is_there =
          std::ranges::any_of(*watchers_, [&](const auto& one) { return one.second == watcher; });
      if (is_there) watcher->OnConversations(its);
    }
  }
}

// ---- members ----

void ConversationKeeper::OnUp(const NodeId& peer) {
  SendNews({peer});
}

void ConversationKeeper::OnDown(const NodeId& peer) {
  serving_.erase(peer);
  Carry(sync_.OnDown(peer, sys::Now()));
}

bool ConversationKeeper::OnMessage(const NodeId& peer, wire::Message& message) {
  const bool member = peers_.IsMember(peer) && peers_.IsMember(self_);
  if (auto* news = std::get_if<wire::ConversationNews>(&message)) {
    if (member) Carry(sync_.OnNews(peer, *news, sys::Now()));
  } else if (auto* pull = std::get_if<wire::ConversationPull>(&message)) {
    if (member) Serve(peer, *pull);
  } else if (auto* versions = std::get_if<wire::ConversationVersions>(&message)) {
    if (member) Carry(sync_.OnVersions(peer, std::move(*versions), sys::Now()));
  } else if (auto* rows = std::get_if<wire::ConversationRows>(&message)) {
    if (member) Carry(sync_.OnRows(peer, std::move(*rows), sys::Now()));
  } else {
    return false;
  }
  return true;
}

void ConversationKeeper::OnTick() {
  const Time now = sys::Now();
  if (now - ticked_at_ < kSyncTick) return;
  ticked_at_ = now;
  Carry(sync_.OnTick(now));
  if (now < compact_at_) return;
  compact_at_ = now + kCompactEach;
  Compact();
}

void ConversationKeeper::Compact() {
  Run([](File& file) { return file.Compact(); },
      [](const Result<size_t>& removed) {
        if (removed) return;
        LOG(kWarning, "conversations: {}", removed.error().message);
      });
}

void ConversationKeeper::Serve(const NodeId& peer, const wire::ConversationPull& pull) {
  if (!serving_.insert(peer).second) return;  // it asks anew when this takes too long
  Run(
      [pull](File& file) -> Result<wire::Message> {
        if (pull.rows.empty()) return TRY(file.VersionsAfter(pull.epoch, pull.after));
        return TRY(file.RowsOf(pull.epoch, pull.rows, kFrameBytes));
      },
      [this, peer](const Result<wire::Message>& answer) {
        serving_.erase(peer);
        if (answer && peers_.IsMember(peer)) peers_.SendTo(peer, *answer);
      });
}

void ConversationKeeper::SendNews(std::vector<NodeId> to) {
  std::erase_if(to, [this](const NodeId& peer) { return !peers_.IsMember(peer); });
  if (to.empty() || !peers_.IsMember(self_)) return;
  Run([](File& file) { return file.News(); },
      [this, to](const Result<wire::ConversationNews>& news) {
        if (!news) return;  // it is told where somebody reads or writes
        for (const NodeId& peer : to) {
          if (peers_.IsMember(peer)) peers_.SendTo(peer, *news);
        }
      });
}

void ConversationKeeper::Carry(ConversationSync::Effects effects) {
  for (ConversationSync::Effect& effect : effects)
    std::visit([this](auto& what) { Do(what); }, effect);
}

void ConversationKeeper::Do(ConversationSync::Ask& ask) {
  if (peers_.IsMember(ask.peer)) peers_.SendTo(ask.peer, std::move(ask.pull));
}

template <class T, class Then>
void ConversationKeeper::Settle(uint64_t ticket, const Result<T>& result, Then then) {
  if (!result) {
    if (!std::exchange(failing_, true))
      LOG(kWarning, "conversations of other devices are not kept now: {}", result.error().message);
    return Carry(sync_.OnFailed(ticket, sys::Now()));
  }
  failing_ = false;
  then(*result);
}

void ConversationKeeper::Do(ConversationSync::FindCursor& find) {
  Run([find](File& file) { return file.Cursor(find.peer, find.epoch); },
      [this, ticket = find.ticket](const Result<uint64_t>& found) {
        Settle(ticket, found,
               [&](uint64_t number) { Carry(sync_.OnCursor(ticket, number, sys::Now())); });
      });
}

void ConversationKeeper::Do(ConversationSync::Sift& sift) {
  Run([versions = std::move(sift.versions)](File& file) { return file.Sift(versions); },
      [this, ticket = sift.ticket](const Result<File::Sifted>& result) {
        Settle(ticket, result, [&](const File::Sifted& sifted) {
          if (sifted.refused != 0)
            LOG(kWarning, "conversations of other devices are not all taken: {}", sifted.reason);
          Carry(sync_.OnSifted(ticket, sifted.wanted, sifted.refused, sys::Now()));
        });
      });
}

void ConversationKeeper::Do(ConversationSync::Take& take) {
  Run([rows = std::move(take.rows)](File& file) { return file.Take(rows); },
      [this, ticket = take.ticket](const Result<size_t>& result) {
        Settle(ticket, result, [&](size_t taken) {
          if (taken > 0 && !std::exchange(relaying_, true)) {
            relay_.Start(kRelayDelay, [this] {
              relaying_ = false;
              SendNews(peers_.SessionsUp());
            });
          }
          Carry(sync_.OnTaken(ticket, sys::Now()));
        });
      });
}

void ConversationKeeper::Do(ConversationSync::KeepCursor& keep) {
  Run(
      [keep](File& file) -> Result<bool> {
        TRY(file.SaveCursor(keep.peer, keep.epoch, keep.number));
        return true;
      },
      [](const Result<bool>& kept) {
        if (!kept) LOG(kDebug, "conversations: {}", kept.error().message);
      });
}

}  // namespace exo::node
