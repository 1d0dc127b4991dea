// The conversations of a node: what people read and write, and what members give each other. Files
// are read and written by jobs; what to ask of which member is ConversationSync's business.
//
// A member that asks is answered one question at a time, with at most a frame. Guests give nothing
// and get nothing, and a guest keeps nothing.
//
// Thread: loop. Owner: NodeImpl.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "node/conversation_sync.h"
#include "node/conversations.h"
#include "node/jobs.h"
#include "store/conversation_store.h"

namespace exo::node {

// The members of the cluster, as its keeper of conversations sees them.
class ConversationPeers {
 public:
  virtual ~ConversationPeers() = default;
  // Also of this node itself.
  virtual bool IsMember(const NodeId& node) const = 0;
  virtual std::vector<NodeId> SessionsUp() const = 0;
  virtual void SendTo(const NodeId& peer, const wire::Message& message) = 0;
};

class ConversationKeeper final : public Conversations {
 public:
  // What is sent in one frame of rows, a larger row aside: tokens wait behind it.
  static constexpr size_t kFrameBytes = 256 << 10;
  // Of a page of messages for people.
  static constexpr size_t kPageBytes = 1 << 20;

  // `peers` and `jobs` outlive it.
  ConversationKeeper(net::EventLoop& loop, Jobs& jobs, ConversationPeers& peers,
                     store::ConversationFileOptions file);

  // --- Conversations ---
  void List(ConversationQuery query, std::function<void(Result<ConversationPage>)> done) override;
  void Read(uint64_t owner, const ConversationId& id, std::optional<MessageId> after,
            std::function<void(Result<MessagePage>)> done) override;
  void Change(const wire::RowKey& key, RowChange change,
              std::function<void(Result<WrittenRow>)> done) override;
  void Import(std::vector<ImportedRow> rows, std::function<bool(const ImportProgress&)> go_on,
              std::function<void(Result<ImportProgress>)> done) override;
  std::unique_ptr<ConversationSubscription> Watch(uint64_t owner,
                                                  ConversationWatcher& watcher) override;

  // --- members ---
  void OnUp(const NodeId& peer);
  void OnDown(const NodeId& peer);
  // True: it was about conversations.
  bool OnMessage(const NodeId& peer, wire::Message& message);
  // Several times a second.
  void OnTick();

 private:
  using File = store::ConversationFile;
  class Subscription;
  struct Importing;
  using Watchers = std::multimap<uint64_t, ConversationWatcher*>;

  // work(File&) -> Result<T> by a job, then done(Result<T>) and what has changed is told.
  template <class Work, class Done>
  void Run(Work work, Done done);
  // The same for people, who get nothing from a guest.
  template <class Work, class Done>
  void RunForPeople(Work work, Done done);
  void ImportPart(const std::shared_ptr<Importing>& import);
  void EndImport(const Importing& import, const Result<ImportCounts>& last);
  void Carry(ConversationSync::Effects effects);
  void Do(ConversationSync::Ask& ask);
  void Do(ConversationSync::FindCursor& find);
  void Do(ConversationSync::Sift& sift);
  void Do(ConversationSync::Take& take);
  void Do(ConversationSync::KeepCursor& keep);
  // The sync goes on with `then`, or tries again later.
  template <class T, class Then>
  void Settle(uint64_t ticket, const Result<T>& result, Then then);
  void Serve(const NodeId& peer, const wire::ConversationPull& pull);
  void TellWatchers(const std::vector<ConversationChange>& changes);
  void SendNews(std::vector<NodeId> to);
  void Compact();

  Jobs& jobs_;
  ConversationPeers& peers_;
  const NodeId self_;
  const std::shared_ptr<store::ConversationStore> store_;  // jobs hold it too
  ConversationSync sync_;
  std::set<NodeId> serving_;  // members whose question is being answered
  std::shared_ptr<Watchers> watchers_ = std::make_shared<Watchers>();
  net::Timer relay_;  // until what was taken from one member is told to the others
  bool relaying_ = false;
  bool failing_ = false;  // what members sent could not be kept; told once
  Time ticked_at_{};
  Time compact_at_{};
};

}  // namespace exo::node
