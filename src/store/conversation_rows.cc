#include "store/conversation_rows.h"

#include <algorithm>
#include <tuple>

namespace exo::store {

// `found` finds rows by whose they are and the words of their texts. `shown`: conversations that
// are not deleted, with the time and number of the row that was written last.
const std::array<const char*, 1> kConversationMigrations = {
    R"sql(
CREATE TABLE file (epoch INTEGER NOT NULL, newest INTEGER NOT NULL);
INSERT INTO file (epoch, newest) VALUES (random(), 0);
CREATE TABLE row (number INTEGER PRIMARY KEY AUTOINCREMENT, owner INTEGER NOT NULL,
                  conversation BLOB NOT NULL, message BLOB NOT NULL, updated INTEGER NOT NULL,
                  device BLOB NOT NULL, deleted INTEGER NOT NULL, cleared INTEGER NOT NULL,
                  text TEXT NOT NULL, data TEXT NOT NULL,
                  UNIQUE (owner, conversation, message));
CREATE INDEX tombstone ON row (updated) WHERE deleted;
CREATE VIRTUAL TABLE found USING fts5(owner, text, content='row', content_rowid='number',
                                      prefix='2 3', tokenize='unicode61 remove_diacritics 2');
CREATE TRIGGER row_added AFTER INSERT ON row BEGIN
  INSERT INTO found (rowid, owner, text) VALUES (new.number, new.owner, new.text);
END;
CREATE TRIGGER row_removed AFTER DELETE ON row BEGIN
  INSERT INTO found (found, rowid, owner, text)
  VALUES ('delete', old.number, old.owner, old.text);
END;
CREATE TABLE shown (owner INTEGER NOT NULL, id BLOB NOT NULL, active INTEGER NOT NULL,
                    latest INTEGER NOT NULL, PRIMARY KEY (owner, id)) WITHOUT ROWID;
CREATE INDEX shown_by_time ON shown (owner, active DESC, id DESC);
CREATE TABLE cursor (peer BLOB PRIMARY KEY, epoch INTEGER NOT NULL, number INTEGER NOT NULL);
)sql",
};

namespace {

// Of a version, or of a whole row with its texts.
constexpr const char* kVersion =
    "SELECT number, owner, conversation, message, updated, device, deleted, cleared";
constexpr const char* kWholeRow =
    "SELECT number, owner, conversation, message, updated, device, deleted, cleared, text, data";
constexpr const char* kOfKey = " FROM row WHERE owner = ?1 AND conversation = ?2 AND message = ?3";

std::string Sql(const char* what, const char* from) {
  return std::string(what) + from;
}

wire::RowVersion VersionAt(const Statement& row) {
  return {.number = static_cast<uint64_t>(row.Int(0)),
          .key = {.owner = static_cast<uint64_t>(row.Int(1)),
                  .conversation = IdAt<ConversationId>(row, 2),
                  .message = IdAt<MessageId>(row, 3)},
          .updated_ms = static_cast<uint64_t>(row.Int(4)),
          .device = IdAt<NodeId>(row, 5),
          .deleted = row.Int(6) != 0,
          .cleared_ms = static_cast<uint64_t>(row.Int(7))};
}

wire::ConversationRow RowAt(const Statement& row) {
  return {.version = VersionAt(row), .text = row.Text(8), .data = row.Text(9)};
}

void BindKey(Statement& statement, const wire::RowKey& key) {
  statement.Bind(1, ToColumn(key.owner))
      .Bind(2, BytesOf(key.conversation))
      .Bind(3, BytesOf(key.message));
}

// Who wrote later than a deletion and did not know of it has changed what is no longer there.
bool Wins(const wire::RowVersion& a, const wire::RowVersion& b) {
  return std::tie(a.cleared_ms, a.updated_ms, a.device) >
         std::tie(b.cleared_ms, b.updated_ms, b.device);
}

}  // namespace

Result<std::optional<wire::RowVersion>> ConversationRows::FindVersion(const wire::RowKey& key) {
  Statement row(db_, Sql(kVersion, kOfKey).c_str());
  BindKey(row, key);
  if (!TRY(row.Next())) return std::nullopt;
  return VersionAt(row);
}

Result<std::optional<wire::ConversationRow>> ConversationRows::Find(const wire::RowKey& key) {
  Statement row(db_, Sql(kWholeRow, kOfKey).c_str());
  BindKey(row, key);
  if (!TRY(row.Next())) return std::nullopt;
  return RowAt(row);
}

Result<std::optional<wire::ConversationRow>> ConversationRows::FindByNumber(uint64_t number) {
  Statement row(db_, Sql(kWholeRow, " FROM row WHERE number = ?1").c_str());
  row.Bind(1, ToColumn(number));
  if (!TRY(row.Next())) return std::nullopt;
  return RowAt(row);
}

Result<uint64_t> ConversationRows::ClearedOf(const wire::RowKey& key) {
  wire::RowKey conversation = key;
  conversation.message = {};
  const auto found = TRY(FindVersion(conversation));
  return found ? found->cleared_ms : 0;
}

Result<bool> ConversationRows::IsNews(const wire::RowVersion& offered, uint64_t forget_ms) {
  if (!offered.key.message.IsZero() && offered.updated_ms <= TRY(ClearedOf(offered.key)))
    return false;
  const auto here = TRY(FindVersion(offered.key));
  if (!here) return !offered.deleted || offered.updated_ms >= forget_ms;
  return Wins(offered, *here);
}

Result<bool> ConversationRows::Merge(const wire::ConversationRow& row) {
  const wire::RowVersion& offered = row.version;
  const bool is_conversation = offered.key.message.IsZero();
  if (!is_conversation && offered.updated_ms <= TRY(ClearedOf(offered.key))) return false;
  const auto here = TRY(FindVersion(offered.key));
  if (here && !Wins(offered, *here)) return false;
  const int64_t number = TRY(Replace(row));
  if (!is_conversation) {
    TRY(ShowMessage(offered, number));
    return true;
  }
  if (offered.cleared_ms > (here ? here->cleared_ms : 0)) {
    TRY(Statement(db_,
                  "DELETE FROM row WHERE owner = ?1 AND conversation = ?2 AND message != ?3 AND "
                  "updated <= ?4")
            .Bind(1, ToColumn(offered.key.owner))
            .Bind(2, BytesOf(offered.key.conversation))
            .Bind(3, BytesOf(MessageId{}))
            .Bind(4, ToColumn(offered.cleared_ms))
            .Run());
  }
  TRY(ShowConversation(offered));
  return true;
}

// Puts the row in place of its former state and returns its number.
Result<int64_t> ConversationRows::Replace(const wire::ConversationRow& row) {
  const wire::RowVersion& version = row.version;
  {
    Statement gone(db_, Sql("DELETE", kOfKey).c_str());
    BindKey(gone, version.key);
    TRY(gone.Run());
  }
  Statement added(db_,
                  "INSERT INTO row (owner, conversation, message, updated, device, deleted, "
                  "cleared, text, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) "
                  "RETURNING number");
  BindKey(added, version.key);
  added.Bind(4, ToColumn(version.updated_ms))
      .Bind(5, BytesOf(version.device))
      .Bind(6, int64_t{version.deleted})
      .Bind(7, ToColumn(version.cleared_ms))
      .Bind(8, row.text)
      .Bind(9, row.data);
  (void)TRY(added.Next());
  const int64_t number = added.Int(0);
  TRY(Statement(db_, "UPDATE file SET newest = max(newest, ?1)")
          .Bind(1, ToColumn(version.updated_ms))
          .Run());
  return number;
}

Result<void> ConversationRows::ShowMessage(const wire::RowVersion& version, int64_t number) {
  return Statement(db_,
                   "UPDATE shown SET active = ?3, latest = ?4 WHERE owner = ?1 AND id = ?2 AND "
                   "active <= ?3")
      .Bind(1, ToColumn(version.key.owner))
      .Bind(2, BytesOf(version.key.conversation))
      .Bind(3, ToColumn(version.updated_ms))
      .Bind(4, number)
      .Run();
}

Result<void> ConversationRows::ShowConversation(const wire::RowVersion& version) {
  const char* sql =
      version.deleted ? "DELETE FROM shown WHERE owner = ?1 AND id = ?2"
                      // Its messages may have come before it.
                      : "INSERT INTO shown (owner, id, active, latest) SELECT owner, conversation, "
                        "max(updated), number FROM row WHERE owner = ?1 AND conversation = ?2 "
                        "ON CONFLICT DO UPDATE SET active = max(active, ?3)";
  Statement change(db_, sql);
  change.Bind(1, ToColumn(version.key.owner)).Bind(2, BytesOf(version.key.conversation));
  if (!version.deleted) change.Bind(3, ToColumn(version.updated_ms));
  return change.Run();
}

Result<bool> ConversationRows::IsShown(uint64_t owner, const ConversationId& id) {
  Statement row(db_, "SELECT 1 FROM shown WHERE owner = ?1 AND id = ?2");
  row.Bind(1, ToColumn(owner)).Bind(2, BytesOf(id));
  return row.Next();
}

Result<size_t> ConversationRows::CountShown() {
  Statement row(db_, "SELECT count(*) FROM shown");
  (void)TRY(row.Next());
  return static_cast<size_t>(row.Int(0));
}

Result<bool> ConversationRows::IsKnown(const wire::RowKey& key) {
  return TRY(FindVersion(key)).has_value();
}

// Pages that deletions have freed are filled again, and no part of it.
Result<uint64_t> ConversationRows::UsedBytes() {
  Statement row(db_,
                "SELECT (page_count - freelist_count) * page_size "
                "FROM pragma_page_count, pragma_freelist_count, pragma_page_size");
  (void)TRY(row.Next());
  return static_cast<uint64_t>(row.Int(0));
}

Result<uint64_t> ConversationRows::NextTime(uint64_t now_ms) {
  Statement row(db_, "SELECT newest FROM file");
  (void)TRY(row.Next());
  return std::max(now_ms, static_cast<uint64_t>(row.Int(0)) + 1);
}

Result<uint64_t> ConversationRows::Epoch() {
  Statement row(db_, "SELECT epoch FROM file");
  (void)TRY(row.Next());
  return static_cast<uint64_t>(row.Int(0));
}

// Also where the last row was removed since.
Result<uint64_t> ConversationRows::LastNumber() {
  Statement row(db_, "SELECT seq FROM sqlite_sequence WHERE name = 'row'");
  if (!TRY(row.Next())) return 0;
  return static_cast<uint64_t>(row.Int(0));
}

Result<std::vector<wire::RowVersion>> ConversationRows::VersionsAfter(uint64_t number,
                                                                      size_t limit) {
  std::vector<wire::RowVersion> versions;
  Statement rows(db_,
                 Sql(kVersion, " FROM row WHERE number > ?1 ORDER BY number LIMIT ?2").c_str());
  rows.Bind(1, ToColumn(number)).Bind(2, static_cast<int64_t>(limit));
  while (TRY(rows.Next())) versions.push_back(VersionAt(rows));
  return versions;
}

Result<size_t> ConversationRows::Compact(uint64_t forget_ms) {
  std::vector<wire::RowKey> old;
  {
    Statement rows(db_, Sql(kVersion, " FROM row WHERE deleted AND updated < ?1").c_str());
    rows.Bind(1, ToColumn(forget_ms));
    while (TRY(rows.Next())) old.push_back(VersionAt(rows).key);
  }
  Statement message(db_, Sql("DELETE", kOfKey).c_str());
  // What was written to a deleted conversation is never seen again.
  Statement whole(db_, "DELETE FROM row WHERE owner = ?1 AND conversation = ?2");
  for (const wire::RowKey& key : old) {
    if (!key.message.IsZero()) {
      BindKey(message, key);
      TRY(message.Run());
      message.Reset();
    } else {
      whole.Bind(1, ToColumn(key.owner)).Bind(2, BytesOf(key.conversation));
      TRY(whole.Run());
      whole.Reset();
    }
  }
  return old.size();
}

}  // namespace exo::store
