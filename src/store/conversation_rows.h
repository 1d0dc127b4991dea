// The rows of conversations in a database, and how two states of a row become one. A conversation
// is a row, and so is each of its messages; a row that was deleted stays as a tombstone.
//
// The larger (cleared, time, device) wins, whoever hears of which state first. `cleared`, of a
// conversation, is the deletion that its writer knew of: messages up to then stay deleted when it
// comes back, and a write that did not know of the last deletion does not bring it back. So any two
// sets of rows, merged in any order, come to the same.
//
// Every state that is taken in gets the next number, so that "what came after N" can be asked for.
// Thread: one at a time, inside a Transaction where something is written.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.h"
#include "store/bytes.h"
#include "store/sqlite.h"
#include "wire/messages.h"

namespace exo::store {

// Of the file of conversations.
extern const std::array<const char*, 1> kConversationMigrations;

class ConversationRows {
 public:
  explicit ConversationRows(Database& db) : db_(db) {}

  // Whether `offered` says more than what is here. Tombstones before `forget_ms` of what nobody
  // here has heard of say nothing.
  Result<bool> IsNews(const wire::RowVersion& offered, uint64_t forget_ms);
  // The state of a row; also a tombstone's.
  Result<std::optional<wire::ConversationRow>> Find(const wire::RowKey& key);
  // Takes a state in. False: what is here says as much.
  Result<bool> Merge(const wire::ConversationRow& row);
  // Is there such a conversation, not deleted?
  Result<bool> IsShown(uint64_t owner, const ConversationId& id);
  // How many there are, of everybody.
  Result<size_t> CountShown();
  // Is there such a row, also as a tombstone?
  Result<bool> IsKnown(const wire::RowKey& key);
  // Bytes of the file that hold something, tombstones and the index of words with it.
  Result<uint64_t> UsedBytes();

  // For a write that is to win over everything that was seen: the clock, unless it is behind.
  Result<uint64_t> NextTime(uint64_t now_ms);
  // Tells this file from another one; numbers count from 1 in each.
  Result<uint64_t> Epoch();
  Result<uint64_t> LastNumber();

  // By ascending numbers.
  Result<std::vector<wire::RowVersion>> VersionsAfter(uint64_t number, size_t limit);
  Result<std::optional<wire::ConversationRow>> FindByNumber(uint64_t number);
  // Removes tombstones from before `forget_ms`, with what they cover. Returns how many rows.
  Result<size_t> Compact(uint64_t forget_ms);
  // The `cleared_ms` of a conversation, named by itself or by one of its messages; 0: none.
  Result<uint64_t> ClearedOf(const wire::RowKey& key);

 private:
  Result<std::optional<wire::RowVersion>> FindVersion(const wire::RowKey& key);
  Result<int64_t> Replace(const wire::ConversationRow& row);
  Result<void> ShowMessage(const wire::RowVersion& version, int64_t number);
  Result<void> ShowConversation(const wire::RowVersion& version);
  Database& db_;
};

// SQLite has signed numbers only.
inline int64_t ToColumn(uint64_t value) {
  return static_cast<int64_t>(value);
}
// The id in a column; zero where it holds none.
template <class Id>
Id IdAt(const Statement& row, int column) {
  Id id;
  const std::vector<std::byte> bytes = row.Blob(column);
  if (bytes.size() == id.bytes.size()) std::memcpy(id.bytes.data(), bytes.data(), bytes.size());
  return id;
}

}  // namespace exo::store
