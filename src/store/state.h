// What a node remembers between starts, in one SQLite file (WAL, full sync): its trust set, where
// other members were, settings, manifests of known files and registered models. Old or new, never
// half. The schema has a version and is migrated when it is older (kMigrations in state.cc).
//
// Every call can fail (full or dying disk, damaged file), and none of them takes that for "no such
// row": whoever asks decides, and about trust the answer is no.
//
// Thread: any; SQLite serializes the calls, and a write waits for the disk: not on the event loop.
// Not shared between processes: the data folder is locked, and so is the file.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "store/sqlite.h"
#include "wire/messages.h"

namespace exo::store {

// Whom this node trusts, and which secret that belongs to.
struct StoredTrust {
  wire::TrustUpdate record;  // without the secret, which has a file of its own
  std::string secret;        // its fingerprint (net/secret.h); empty: written by an older exo
  std::string former;        // that of the one before, in case the file was not written any more
};

// Where a member listened when it was last here.
struct KnownPeer {
  NodeId id;
  std::string host;  // numeric
  uint16_t port = 0;
};

// One state of a model's files on disk.
struct KnownFile {
  std::string path;  // of the first part
  uint64_t bytes = 0;
  int64_t modified_ns = 0;
  Hash256 stamp;  // over sizes, times and samples of the contents of all parts
};

class State {
 public:
  // Opens or creates `path` and migrates it. Errors: kIo, kCorrupt (says to move the file away),
  // kUnsupported (written by a newer exo).
  static Result<std::unique_ptr<State>> Open(const std::string& path);
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  // --- trust (cluster/trust.h) ---
  Result<StoredTrust> Trust();
  // Replaces what was there, all or nothing.
  Result<void> SaveTrust(const StoredTrust& trust);

  // --- addresses of members ---
  static constexpr int kMaxKnownPeers = 64;  // as many as a node has sessions; the oldest go first
  // Replaces what was known of this peer. `seconds`: since 1970, for the order.
  Result<void> RememberPeer(const KnownPeer& peer, int64_t seconds);
  // The latest first; keys that were forgotten are left out.
  Result<std::vector<KnownPeer>> RememberedPeers();

  // --- settings ---
  Result<std::optional<std::string>> Find(const std::string& key);
  // The same for what can be found out again: a failure reads as unset.
  std::optional<std::string> Get(const std::string& key) {
    return Find(key).value_or(std::nullopt);
  }
  Result<void> Set(const std::string& key, const std::string& value);
  // Adds one to a counter, makes it at least `floor` and returns it.
  Result<uint64_t> Increment(const std::string& key, uint64_t floor = 0);

  // --- manifests by file, so that a file is hashed once ---
  Result<std::optional<std::vector<std::byte>>> FindManifest(const KnownFile& file);
  Result<void> SaveManifest(const KnownFile& file, std::span<const std::byte> manifest);

  // --- model files that the user named ---
  Result<std::vector<std::string>> RegisteredModels();
  Result<void> RegisterModel(const std::string& path);
  Result<void> ForgetModel(const std::string& path);

 private:
  explicit State(std::unique_ptr<Database> db) : db_(std::move(db)) {}
  const std::unique_ptr<Database> db_;
};

}  // namespace exo::store
