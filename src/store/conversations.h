// What people and members of the cluster do with the conversations in an open file: those of the
// home and those of each API key, apart from each other. Members give each other what they have
// (VersionsAfter, RowsOf, Take); what a write means there: conversation_rows.h.
//
// Thread: one call at a time; every call may wait for the disk. Owner: ConversationStore.
// Errors of all: kIo (the disk), kCorrupt (the file is damaged).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "store/conversation_rows.h"
#include "wire/messages.h"

namespace exo::store {

inline constexpr size_t kMaxConversations = 100'000;  // of everybody together
// Of the file, with the index of words: a home's conversations of many years. Of members twice as
// much is taken, as of conversations: what two halves of a cluster have written apart is kept.
inline constexpr uint64_t kMaxUsedBytes = uint64_t{2} << 30;
inline constexpr size_t kMaxTitle = 500;          // bytes
inline constexpr size_t kMaxSettings = 64 << 10;  // bytes of a conversation's data
inline constexpr size_t kMaxSearch = 256;         // bytes
inline constexpr size_t kMaxPage = 200;           // conversations
// What one transaction of an import takes, a larger conversation aside: others wait for it, so it
// is some 10 ms.
inline constexpr size_t kImportRows = 128;
inline constexpr size_t kImportBytes = 256 << 10;
// A tombstone is kept so long: a device that was away for longer may bring back what was deleted.
inline constexpr uint64_t kKeptTombstones = uint64_t{90} * 24 * 3600 * 1000;  // ms
// Rows from further in the future are not taken: a wrong clock would win for ever.
inline constexpr uint64_t kMaxClockSkew = uint64_t{24} * 3600 * 1000;  // ms

// What people wrote in a row.
struct RowContent {
  std::string text;  // that is searched: a title, or what a message says
  std::string data;  // the rest, as JSON
  friend bool operator==(const RowContent&, const RowContent&) = default;
};
// What is to be in place of what is there (null: nothing is); nothing: it is deleted.
using RowChange = std::function<Result<std::optional<RowContent>>(const RowContent* now)>;

struct ConversationChange {
  uint64_t owner = 0;
  ConversationId id;
  bool deleted = false;
  friend auto operator<=>(const ConversationChange&, const ConversationChange&) = default;
};

struct ConversationSummary {
  ConversationId id;
  RowContent content;
  uint64_t updated_ms = 0;  // it, or one of its messages
  std::string snippet;      // of its last message, or where the words were found
};
struct ConversationQuery {
  uint64_t owner = 0;
  std::string search;  // words that a row has; the last letters of each may be missing
  size_t limit = 50;   // up to kMaxPage
  std::string before;  // ConversationPage::next of the page before; empty: the first page
};
struct ConversationPage {
  std::vector<ConversationSummary> data;  // the newest first; when searching, of the rows found
  std::string next;                       // empty: no more
};
struct StoredMessage {
  MessageId id;
  RowContent content;
  uint64_t updated_ms = 0;
};
// A part of a conversation's messages, by ascending ids.
struct MessagePage {
  ConversationSummary conversation;
  std::vector<StoredMessage> messages;
  bool more = false;  // behind the last of `messages`
};
struct WrittenRow {
  RowContent content;
  uint64_t updated_ms = 0;
};
struct ImportedRow {
  wire::RowKey key;
  RowContent content;
  uint64_t updated_ms = 0;  // 0: now
};
struct ImportCounts {  // of conversations
  size_t added = 0;
  size_t updated = 0;
  size_t unchanged = 0;
  ImportCounts& operator+=(const ImportCounts& more);
};

struct ConversationFileOptions {
  std::string path;  // empty: in no file
  NodeId self;
  std::function<uint64_t()> now_ms = nullptr;  // since 1970; null: the system's clock
  // Whether a row's data, from a member, is what it should be. Null: any is.
  std::function<bool(std::string_view)> is_data = nullptr;
  uint64_t max_used_bytes = kMaxUsedBytes;
};

class ConversationFile {
 public:
  // Errors: those of Database::Open.
  static Result<std::unique_ptr<ConversationFile>> Open(const ConversationFileOptions& options);

  // --- for people ---
  // Errors: kInvalid (`before` is no page's end).
  Result<ConversationPage> List(const ConversationQuery& query);
  // Messages behind the id `after` (none: from the first on) up to about `max_bytes`.
  // Errors: kNotFound.
  Result<MessagePage> Read(uint64_t owner, const ConversationId& id,
                           const std::optional<MessageId>& after, size_t max_bytes);
  // Changes a conversation or one message of it. `change` runs at once, within the transaction.
  // Errors: those of `change`; kNotFound (the conversation; what is to be deleted); kInvalid
  // (kMaxConversations, a row above kMaxRowBytes, a file that has max_used_bytes: what is there
  // can be deleted still).
  Result<WrittenRow> Change(const wire::RowKey& key, const RowChange& change);
  // Takes in what is not here or older here, all or nothing. Messages come behind their
  // conversation. Errors: as Change. Others wait meanwhile: see FirstOfImport.
  Result<ImportCounts> Import(std::span<const ImportedRow> rows);

  // --- for members ---
  // Up to where the numbers of the rows go.
  Result<wire::ConversationNews> News();
  // Of another epoch than this file's: from its first row on.
  Result<wire::ConversationVersions> VersionsAfter(uint64_t epoch, uint64_t after);
  // Rows by their numbers, up to about `max_bytes`; none of another epoch.
  Result<wire::ConversationRows> RowsOf(uint64_t epoch, std::span<const uint64_t> numbers,
                                        size_t max_bytes);
  struct Sifted {
    std::vector<uint64_t> wanted;  // numbers of the versions that say more than what is here
    // The first version that is not taken now and should be offered again. 0: none.
    uint64_t refused = 0;
    std::string reason;  // why, for people
  };
  Result<Sifted> Sift(std::span<const wire::RowVersion> versions);
  // Takes rows of a member in, those that Sift would want. Returns how many were news.
  Result<size_t> Take(std::span<const wire::ConversationRow> rows);
  // Up to which number a peer's rows are here; 0 where its file has another epoch.
  Result<uint64_t> Cursor(const NodeId& peer, uint64_t epoch);
  Result<void> SaveCursor(const NodeId& peer, uint64_t epoch, uint64_t number);

  // Removes what was deleted long ago. Returns how many rows.
  Result<size_t> Compact();
  // What Change, Import and Take have changed since the last call, each conversation once.
  std::vector<ConversationChange> TakeChanges();

 private:
  ConversationFile(std::unique_ptr<Database> db, const ConversationFileOptions& options)
      : db_(std::move(db)), options_(options) {}
  Result<WrittenRow> Write(const wire::RowKey& key, RowContent content, bool deleted,
                           uint64_t updated_ms);
  Result<bool> ImportRow(const ImportedRow& row, size_t& shown, bool& is_new);
  Result<void> CheckSpace();
  bool IsSound(const wire::ConversationRow& row) const;
  Result<std::string> WhyRefused(const wire::RowVersion& version, bool is_full, size_t& shown);
  void Note(const wire::RowVersion& version);
  uint64_t NowMs() const;
  uint64_t ForgetMs() const;

  const std::unique_ptr<Database> db_;
  const ConversationFileOptions options_;
  ConversationRows rows_{*db_};
  std::map<std::pair<uint64_t, ConversationId>, bool> changes_;  // deleted?
};

// What one transaction takes of rows that are imported, from the first one on: whole conversations,
// at least one, then up to kImportRows and kImportBytes. None: there are no rows.
std::span<const ImportedRow> FirstOfImport(std::span<const ImportedRow> rows);
// How many conversations rows that are imported are of.
size_t CountConversations(std::span<const ImportedRow> rows);

// List's work (conversation_search.cc). `query` has been checked.
Result<ConversationPage> ListConversations(Database& db, const ConversationQuery& query);
Result<ConversationPage> SearchConversations(Database& db, const ConversationQuery& query);

}  // namespace exo::store
