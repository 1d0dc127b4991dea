#include "store/state.h"

#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <span>

namespace exo::store {
namespace {

// No shared memory file, which a full disk would refuse: the lock says that nobody else is here.
constexpr const char* kSettings = R"sql(
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
)sql";

// Entry N brings a file of schema version N to N + 1. Version 0 is an empty file, or one of before
// versions were counted. Entries are never changed, only added.
constexpr std::array<const char*, 4> kMigrations = {
    R"sql(
CREATE TABLE IF NOT EXISTS member (id TEXT PRIMARY KEY, name TEXT NOT NULL,
                                   revoked INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS setting (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS manifest (path TEXT PRIMARY KEY, bytes INTEGER NOT NULL,
                                     modified_ns INTEGER NOT NULL, manifest BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS model (path TEXT PRIMARY KEY);
)sql",
    // Size and time do not tell two files apart: files are hashed again.
    R"sql(
DROP TABLE manifest;
CREATE TABLE manifest (path TEXT PRIMARY KEY, stamp TEXT NOT NULL, manifest BLOB NOT NULL);
)sql",
    // Some files of version 0 have it.
    R"sql(
CREATE TABLE IF NOT EXISTS peer (id TEXT PRIMARY KEY, host TEXT NOT NULL, port INTEGER NOT NULL,
                                 seen INTEGER NOT NULL);
)sql",
    // Of wire::TrustRole.
    R"sql(
ALTER TABLE member ADD COLUMN role INTEGER NOT NULL DEFAULT 0;
UPDATE member SET role = 2 WHERE revoked;
ALTER TABLE member DROP COLUMN revoked;
CREATE TABLE trust (epoch_wall INTEGER NOT NULL, epoch_counter INTEGER NOT NULL,
                    epoch_node TEXT NOT NULL, secret TEXT NOT NULL, former TEXT NOT NULL);
)sql",
};

// One prepared statement, finalized at the end of the scope. Parameters are numbered from 1.
class Statement {
 public:
  Statement(sqlite3* db, const char* sql) : db_(db) {
    sqlite3_prepare_v2(db, sql, -1, &statement_, nullptr);
  }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& Bind(int index, std::string_view text) {
    sqlite3_bind_text(statement_, index, text.data(), static_cast<int>(text.size()),
                      SQLITE_TRANSIENT);
    return *this;
  }
  Statement& Bind(int index, int64_t value) {
    sqlite3_bind_int64(statement_, index, value);
    return *this;
  }
  Statement& Bind(int index, std::span<const std::byte> bytes) {
    sqlite3_bind_blob64(statement_, index, bytes.data(), bytes.size(), SQLITE_TRANSIENT);
    return *this;
  }
  // True: there is a row more. Errors: kIo.
  Result<bool> Next() {
    const int rc = sqlite3_step(statement_);
    if (rc == SQLITE_ROW) return true;
    if (rc == SQLITE_DONE) return false;
    return Fail(ErrorCode::kIo, "the state file cannot be read: {}", sqlite3_errmsg(db_));
  }
  Result<void> Run() {
    const int rc = sqlite3_step(statement_);
    if (rc == SQLITE_DONE || rc == SQLITE_ROW) return {};
    return Fail(ErrorCode::kIo, "the state file refused a change: {}", sqlite3_errmsg(db_));
  }
  std::string Text(int column) const {
    const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
    return text == nullptr
               ? ""
               : std::string(text, static_cast<size_t>(sqlite3_column_bytes(statement_, column)));
  }
  int64_t Int(int column) const { return sqlite3_column_int64(statement_, column); }
  std::vector<std::byte> Blob(int column) const {
    const auto* data = static_cast<const std::byte*>(sqlite3_column_blob(statement_, column));
    return {data, data + sqlite3_column_bytes(statement_, column)};
  }

 private:
  sqlite3* db_;
  sqlite3_stmt* statement_ = nullptr;
};

Result<wire::TrustEntry> ReadTrusted(const Statement& row) {
  const auto id = NodeId::FromHex(row.Text(0));
  const int64_t role = row.Int(2);
  if (!id || role < 0 || role > static_cast<int64_t>(wire::TrustRole::kForgotten)) {
    return Fail(ErrorCode::kCorrupt, "the state file has a member '{}' with role {}", row.Text(0),
                role);
  }
  return wire::TrustEntry{
      .id = *id, .role = static_cast<wire::TrustRole>(role), .name = row.Text(1)};
}

// Several changes that are made together or not at all. Other threads wait meanwhile: what they
// wrote would be undone with it.
class Transaction {
 public:
  explicit Transaction(sqlite3* db) : db_(db) {
    sqlite3_mutex_enter(sqlite3_db_mutex(db_));
    begun_ = Execute("BEGIN");
  }
  ~Transaction() {
    if (begun_ && !committed_) Execute("ROLLBACK");
    sqlite3_mutex_leave(sqlite3_db_mutex(db_));
  }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  Result<void> Commit() {
    committed_ = begun_ && Execute("COMMIT");
    if (committed_) return {};
    return Fail(ErrorCode::kIo, "the state file refused a change: {}", sqlite3_errmsg(db_));
  }

 private:
  bool Execute(const char* sql) {
    return sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) == SQLITE_OK;
  }
  sqlite3* db_;
  bool begun_ = false;
  bool committed_ = false;
};

}  // namespace

Result<std::unique_ptr<State>> State::Open(const std::string& path) {
  sqlite3* db = nullptr;
  const int rc =
      sqlite3_open_v2(path.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
  std::unique_ptr<State> state(new State(db));
  if (rc != SQLITE_OK) {
    return Fail(ErrorCode::kIo, "cannot open the state file {}: {}", path, sqlite3_errstr(rc));
  }
  sqlite3_busy_timeout(db, 2000);
  if (sqlite3_exec(db, kSettings, nullptr, nullptr, nullptr) != SQLITE_OK) {
    const int error = sqlite3_errcode(db);
    if (error != SQLITE_NOTADB && error != SQLITE_CORRUPT)
      return Fail(ErrorCode::kIo, "cannot use the state file {}: {}", path, sqlite3_errmsg(db));
    return Fail(ErrorCode::kCorrupt,
                "the state file {} is damaged ({}); move it away to start anew", path,
                sqlite3_errmsg(db));
  }
  TRY(state->Migrate(path));
  return state;
}

Result<void> State::Migrate(const std::string& path) {
  size_t version = 0;
  {
    Statement row(db_, "PRAGMA user_version");
    if (TRY(row.Next())) version = static_cast<size_t>(row.Int(0));
  }
  if (version > kMigrations.size()) {
    return Fail(
        ErrorCode::kUnsupported,
        "the state file {} was written by a newer exo (schema {}, this one knows {}); update "
        "exo, or give it a data folder of its own with EXO_HOME",
        path, version, kMigrations.size());
  }
  for (; version < kMigrations.size(); ++version) {
    const std::string sql = fmt::format("BEGIN; {} PRAGMA user_version = {}; COMMIT;",
                                        kMigrations[version], version + 1);
    if (sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK) continue;
    return Fail(ErrorCode::kIo, "cannot bring the state file {} to schema {}: {}", path,
                version + 1, sqlite3_errmsg(db_));
  }
  return {};
}

State::~State() {
  sqlite3_close(db_);
}

Result<StoredTrust> State::Trust() {
  StoredTrust trust;
  Statement rows(db_, "SELECT id, name, role FROM member ORDER BY id");
  while (TRY(rows.Next())) trust.record.entries.push_back(TRY(ReadTrusted(rows)));
  Statement epoch(db_, "SELECT epoch_wall, epoch_counter, epoch_node, secret, former FROM trust");
  if (!TRY(epoch.Next())) return trust;
  const auto writer = NodeId::FromHex(epoch.Text(2));
  if (!writer) return Fail(ErrorCode::kCorrupt, "the state file has a writer '{}'", epoch.Text(2));
  trust.record.epoch = {.wall_ms = static_cast<uint64_t>(epoch.Int(0)),
                        .counter = static_cast<uint32_t>(epoch.Int(1)),
                        .node = *writer};
  trust.secret = epoch.Text(3);
  trust.former = epoch.Text(4);
  return trust;
}

Result<void> State::SaveTrust(const StoredTrust& trust) {
  Transaction all(db_);
  TRY(Statement(db_, "DELETE FROM member").Run());
  for (const wire::TrustEntry& entry : trust.record.entries) {
    TRY(Statement(db_, "INSERT INTO member (id, name, role) VALUES (?1, ?2, ?3)")
            .Bind(1, entry.id.Hex())
            .Bind(2, entry.name)
            .Bind(3, static_cast<int64_t>(entry.role))
            .Run());
  }
  TRY(Statement(db_, "DELETE FROM trust").Run());
  TRY(Statement(db_,
                "INSERT INTO trust (epoch_wall, epoch_counter, epoch_node, secret, former) "
                "VALUES (?1, ?2, ?3, ?4, ?5)")
          .Bind(1, static_cast<int64_t>(trust.record.epoch.wall_ms))
          .Bind(2, int64_t{trust.record.epoch.counter})
          .Bind(3, trust.record.epoch.node.Hex())
          .Bind(4, trust.secret)
          .Bind(5, trust.former)
          .Run());
  return all.Commit();
}

Result<void> State::RememberPeer(const KnownPeer& peer, int64_t seconds) {
  TRY(Statement(db_, "INSERT OR REPLACE INTO peer (id, host, port, seen) VALUES (?1, ?2, ?3, ?4)")
          .Bind(1, peer.id.Hex())
          .Bind(2, peer.host)
          .Bind(3, int64_t{peer.port})
          .Bind(4, seconds)
          .Run());
  return Statement(db_,
                   "DELETE FROM peer WHERE id NOT IN (SELECT id FROM peer ORDER BY seen DESC, id "
                   "LIMIT ?1)")
      .Bind(1, int64_t{kMaxKnownPeers})
      .Run();
}

Result<std::vector<KnownPeer>> State::RememberedPeers() {
  std::vector<KnownPeer> peers;
  Statement rows(db_,
                 "SELECT id, host, port FROM peer WHERE id NOT IN (SELECT id FROM member WHERE "
                 "role = 2) ORDER BY seen DESC, id");
  while (TRY(rows.Next())) {
    const auto id = NodeId::FromHex(rows.Text(0));
    if (!id) continue;
    peers.push_back({*id, rows.Text(1), static_cast<uint16_t>(rows.Int(2))});
  }
  return peers;
}

Result<std::optional<std::string>> State::Find(const std::string& key) {
  Statement row(db_, "SELECT value FROM setting WHERE key = ?1");
  row.Bind(1, key);
  if (!TRY(row.Next())) return std::nullopt;
  return row.Text(0);
}

Result<void> State::Set(const std::string& key, const std::string& value) {
  return Statement(db_,
                   "INSERT INTO setting (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE "
                   "SET value = ?2")
      .Bind(1, key)
      .Bind(2, value)
      .Run();
}

Result<uint64_t> State::Increment(const std::string& key, uint64_t floor) {
  const std::string before = TRY(Find(key)).value_or("0");
  const uint64_t value = std::max<uint64_t>(std::strtoull(before.c_str(), nullptr, 10) + 1, floor);
  TRY(Set(key, fmt::format("{}", value)));
  return value;
}

Result<std::optional<std::vector<std::byte>>> State::FindManifest(const KnownFile& file) {
  Statement row(db_, "SELECT manifest FROM manifest WHERE path = ?1 AND stamp = ?2");
  row.Bind(1, file.path).Bind(2, file.stamp.Hex());
  if (!TRY(row.Next())) return std::nullopt;
  return row.Blob(0);
}

Result<void> State::SaveManifest(const KnownFile& file, std::span<const std::byte> manifest) {
  return Statement(db_,
                   "INSERT OR REPLACE INTO manifest (path, stamp, manifest) VALUES (?1, ?2, ?3)")
      .Bind(1, file.path)
      .Bind(2, file.stamp.Hex())
      .Bind(3, manifest)
      .Run();
}

Result<std::vector<std::string>> State::RegisteredModels() {
  std::vector<std::string> paths;
  Statement rows(db_, "SELECT path FROM model ORDER BY path");
  while (TRY(rows.Next())) paths.push_back(rows.Text(0));
  return paths;
}

Result<void> State::RegisterModel(const std::string& path) {
  return Statement(db_, "INSERT OR IGNORE INTO model (path) VALUES (?1)").Bind(1, path).Run();
}

Result<void> State::ForgetModel(const std::string& path) {
  TRY(Statement(db_, "DELETE FROM manifest WHERE path = ?1").Bind(1, path).Run());
  return Statement(db_, "DELETE FROM model WHERE path = ?1").Bind(1, path).Run();
}

}  // namespace exo::store
