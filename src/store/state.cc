#include "store/state.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <span>

namespace exo::store {
namespace {

// Version 0 may also be a file of before versions were counted.
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

}  // namespace

Result<std::unique_ptr<State>> State::Open(const std::string& path) {
  auto db =
      TRY(Database::Open({.path = path, .what = "the state file", .migrations = kMigrations}));
  return std::unique_ptr<State>(new State(std::move(db)));
}

Result<StoredTrust> State::Trust() {
  StoredTrust trust;
  Statement rows(*db_, "SELECT id, name, role FROM member ORDER BY id");
  while (TRY(rows.Next())) trust.record.entries.push_back(TRY(ReadTrusted(rows)));
  Statement epoch(*db_, "SELECT epoch_wall, epoch_counter, epoch_node, secret, former FROM trust");
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
  Transaction all(*db_);
  TRY(Statement(*db_, "DELETE FROM member").Run());
  for (const wire::TrustEntry& entry : trust.record.entries) {
    TRY(Statement(*db_, "INSERT INTO member (id, name, role) VALUES (?1, ?2, ?3)")
            .Bind(1, entry.id.Hex())
            .Bind(2, entry.name)
            .Bind(3, static_cast<int64_t>(entry.role))
            .Run());
  }
  TRY(Statement(*db_, "DELETE FROM trust").Run());
  TRY(Statement(*db_,
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
  TRY(Statement(*db_, "INSERT OR REPLACE INTO peer (id, host, port, seen) VALUES (?1, ?2, ?3, ?4)")
          .Bind(1, peer.id.Hex())
          .Bind(2, peer.host)
          .Bind(3, int64_t{peer.port})
          .Bind(4, seconds)
          .Run());
  return Statement(*db_,
                   "DELETE FROM peer WHERE id NOT IN (SELECT id FROM peer ORDER BY seen DESC, id "
                   "LIMIT ?1)")
      .Bind(1, int64_t{kMaxKnownPeers})
      .Run();
}

Result<std::vector<KnownPeer>> State::RememberedPeers() {
  std::vector<KnownPeer> peers;
  Statement rows(*db_,
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
  Statement row(*db_, "SELECT value FROM setting WHERE key = ?1");
  row.Bind(1, key);
  if (!TRY(row.Next())) return std::nullopt;
  return row.Text(0);
}

Result<void> State::Set(const std::string& key, const std::string& value) {
  return Statement(*db_,
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
  Statement row(*db_, "SELECT manifest FROM manifest WHERE path = ?1 AND stamp = ?2");
  row.Bind(1, file.path).Bind(2, file.stamp.Hex());
  if (!TRY(row.Next())) return std::nullopt;
  return row.Blob(0);
}

Result<void> State::SaveManifest(const KnownFile& file, std::span<const std::byte> manifest) {
  return Statement(*db_,
                   "INSERT OR REPLACE INTO manifest (path, stamp, manifest) VALUES (?1, ?2, ?3)")
      .Bind(1, file.path)
      .Bind(2, file.stamp.Hex())
      .Bind(3, manifest)
      .Run();
}

Result<std::vector<std::string>> State::RegisteredModels() {
  std::vector<std::string> paths;
  Statement rows(*db_, "SELECT path FROM model ORDER BY path");
  while (TRY(rows.Next())) paths.push_back(rows.Text(0));
  return paths;
}

Result<void> State::RegisterModel(const std::string& path) {
  return Statement(*db_, "INSERT OR IGNORE INTO model (path) VALUES (?1)").Bind(1, path).Run();
}

Result<void> State::ForgetModel(const std::string& path) {
  TRY(Statement(*db_, "DELETE FROM manifest WHERE path = ?1").Bind(1, path).Run());
  return Statement(*db_, "DELETE FROM model WHERE path = ?1").Bind(1, path).Run();
}

}  // namespace exo::store
