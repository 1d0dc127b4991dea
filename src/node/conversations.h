// What the edges of a node ask about the conversations that it keeps for people: those of the home
// (owner 0) and those of each API key. A part of node/api.h. The words are
// store/conversations.h's.
//
// Thread: loop; callbacks too, but for a RowChange, which runs on a thread of files and owns what
// it uses.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "store/conversations.h"
#include "wire/messages.h"

namespace exo::node {

using store::ConversationChange;
using store::ConversationPage;
using store::ConversationQuery;
using store::ConversationSummary;
using store::ImportCounts;
using store::ImportedRow;
using store::kMaxPage;
using store::kMaxSearch;
using store::kMaxTitle;
using store::MessagePage;
using store::RowChange;
using store::RowContent;
using store::StoredMessage;
using store::WrittenRow;

// Hears which of an owner's conversations have changed, on whatever device.
class ConversationWatcher {
 public:
  virtual ~ConversationWatcher() = default;
  virtual void OnConversations(std::span<const ConversationChange> changes) = 0;
};
// Destroying it ends the calls.
class ConversationSubscription {
 public:
  virtual ~ConversationSubscription() = default;
};

// How far an import is.
struct ImportProgress {
  ImportCounts taken;
  size_t total = 0;  // conversations, of the whole import
};

// Errors of every question: kIo (the disk), kCorrupt (the file was damaged; a new one is begun),
// kOverloaded (files are busy), kInvalid (this device is a guest).
class Conversations {
 public:
  virtual ~Conversations() = default;
  // Errors: kInvalid (query.before).
  virtual void List(ConversationQuery query,
                    std::function<void(Result<ConversationPage>)> done) = 0;
  // The messages behind `after`, by their ids. Errors: kNotFound.
  virtual void Read(uint64_t owner, const ConversationId& id, std::optional<MessageId> after,
                    std::function<void(Result<MessagePage>)> done) = 0;
  // One conversation or message. Errors: those of `change`; kNotFound, kInvalid (too many, too
  // large).
  virtual void Change(const wire::RowKey& key, RowChange change,
                      std::function<void(Result<WrittenRow>)> done) = 0;
  // Takes conversations one after the other, each whole or not at all, in parts between which other
  // questions have their turn. Behind each part but the last, `go_on` hears what was taken so far;
  // false: the import ends there, with that. Errors: as Change; the message says what was taken
  // before, which stays.
  virtual void Import(std::vector<ImportedRow> rows,
                      std::function<bool(const ImportProgress&)> go_on,
                      std::function<void(Result<ImportProgress>)> done) = 0;
  // `watcher` must outlive the subscription.
  virtual std::unique_ptr<ConversationSubscription> Watch(uint64_t owner,
                                                          ConversationWatcher& watcher) = 0;
};

}  // namespace exo::node
