// What a node remembers between starts, in one SQLite file (WAL, full sync): its trust set, where
// other members were, settings, manifests of known files and registered models. Old or new, never
// half.
//
// Thread: any; SQLite serializes the calls. Not shared between processes:
// the data folder is locked.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"

struct sqlite3;

namespace exo::store {

struct Member {
  NodeId id;
  std::string name;
  bool revoked = false;
};

// Where a member listened when it was last here.
struct KnownPeer {
  NodeId id;
  std::string host;  // numeric
  uint16_t port = 0;
};

struct KnownFile {
  std::string path;
  uint64_t bytes = 0;
  int64_t modified_ns = 0;
};

class State {
 public:
  // Opens or creates `path`. Errors: kIo, kCorrupt (says to move the file away).
  static Result<std::unique_ptr<State>> Open(const std::string& path);
  ~State();
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  // --- trust set: revoked wins for ever ---
  std::vector<Member> Members();
  std::optional<Member> FindMember(const NodeId& id);
  Result<void> Admit(const NodeId& id, const std::string& name);
  Result<void> Revoke(const NodeId& id);

  // --- addresses of members ---
  static constexpr int kMaxKnownPeers = 64;  // as many as a node has sessions; the oldest go first
  // Replaces what was known of this peer. `seconds`: since 1970, for the order.
  Result<void> RememberPeer(const KnownPeer& peer, int64_t seconds);
  // The latest first; revoked keys are left out.
  std::vector<KnownPeer> RememberedPeers();

  // --- settings ---
  std::optional<std::string> Get(const std::string& key);
  Result<void> Set(const std::string& key, const std::string& value);
  // Adds one to a counter and returns it (incarnation).
  Result<uint64_t> Increment(const std::string& key);

  // --- manifests by file, so that a file is hashed once ---
  std::optional<std::vector<std::byte>> FindManifest(const KnownFile& file);
  Result<void> SaveManifest(const KnownFile& file, std::span<const std::byte> manifest);

  // --- model files that the user named ---
  std::vector<std::string> RegisteredModels();
  Result<void> RegisterModel(const std::string& path);

 private:
  explicit State(sqlite3* db) : db_(db) {}
  sqlite3* db_;
};

}  // namespace exo::store
