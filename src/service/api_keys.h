// The API keys of a node: a file of the data folder that `exo key` writes and a running node reads,
// and what each key has used, which the node writes.
//
// A key is 32 random bytes, shown once; the file has its SHA-256 (service/secret_text.h).
//
// FOLDER/api-keys.json (0600) is written by `exo key`; a node sees a change at the next request.
// FOLDER/api-keys-use.json (0600) is written by the node alone, within half a minute.
// FOLDER/admin-token (0600): 32 random bytes that the node makes and commands of this machine send.
//
// Thread: functions any, one at a time; KeyRing the event loop.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "service/http/access.h"
#include "sys/files.h"
#include "sys/task_queue.h"

namespace exo::service {

inline constexpr size_t kMaxKeys = 256;  // a home has a few people and programs
inline constexpr size_t kMaxKeyName = 64;
inline constexpr uint32_t kMaxRate = 1'000'000;
inline constexpr uint64_t kMaxQuota = uint64_t{1} << 48;

struct ApiKey {
  uint64_t id = 0;  // random; not 0
  std::string name;
  Hash256 hash;         // of the text that clients send
  uint8_t scopes = 0;   // Caller::ScopeBit
  uint32_t rate = 0;    // requests in a minute; 0: any number
  uint64_t quota = 0;   // tokens in a day (UTC), of prompts and answers; 0: any number
  int64_t created = 0;  // seconds since 1970
};
struct KeyUse {
  int64_t last = 0;     // seconds since 1970; 0: never
  int64_t day = 0;      // days since 1970, of `tokens`
  uint64_t tokens = 0;  // of prompts and answers on that day
};

// "infer,models" -> bits. Errors: kInvalid with the names that there are.
Result<uint8_t> ParseScopes(const std::vector<std::string>& names);
std::vector<std::string> ScopeNames(uint8_t scopes);

// The keys of a folder. Errors: kInvalid (others may read the file), kCorrupt, kIo.
Result<std::vector<ApiKey>> ReadKeys(const std::string& folder);
std::map<uint64_t, KeyUse> ReadKeyUse(const std::string& folder);  // empty where there is none
// Adds `key`, of which name, scopes, rate and quota count; returns the text that its holder sends.
// Errors: kInvalid (name, one that is there), kOverloaded (kMaxKeys; another command writes), kIo.
Result<std::string> AddKey(const std::string& folder, ApiKey key);
// Errors: kNotFound naming those that there are.
Result<void> RemoveKey(const std::string& folder, const std::string& name);

// The admin token of a folder. Errors: kNotFound, kInvalid (others may read it, or it is none).
Result<std::string> ReadAdminToken(const std::string& folder);

struct KeyRingOptions {
  std::string folder;
  bool share_prefixes = false;                // between keys
  std::function<int64_t()> now_ms = nullptr;  // since 1970; null: the system's clock
};

class KeyRing final : public Gatekeeper {
 public:
  // Reads the keys and reads or makes the admin token; one that cannot be written is told in the
  // log, and nobody has it.
  explicit KeyRing(KeyRingOptions options);
  ~KeyRing() override;  // Close

  std::optional<Caller> Identify(std::string_view credential) override;
  std::optional<Caller> CallerOf(uint64_t id) override;
  Parsed<> Admit(const Caller& caller) override;
  Parsed<> CheckQuota(const Caller& caller) override;
  std::optional<uint64_t> TokensLeft(const Caller& caller) override;
  void CountTokens(const Caller& caller, uint64_t tokens) override;

  // How many keys there are now.
  size_t size();
  // Writes what was used since the last time, on a thread of its own. Call it now and then.
  void Save();
  // Writes it now, for the last time.
  void Close();

 private:
  struct State {
    KeyUse use;
    double budget = 0;  // requests that may come at once
    int64_t filled_ms = 0;
    bool begun = false;
  };
  void Reload();
  const ApiKey* Find(uint64_t id) const;
  Caller CallerWith(const ApiKey& key);
  KeyUse& Today(uint64_t id);
  std::map<uint64_t, KeyUse> Uses() const;
  int64_t NowMs() const;

  const KeyRingOptions options_;
  std::optional<Hash256> admin_;
  std::vector<ApiKey> keys_;
  sys::FileStamp stamp_;
  std::map<uint64_t, State> states_;
  bool used_ = false;
  bool changed_ = false;  // since the last Save
  std::unique_ptr<sys::TaskQueue> writer_ = std::make_unique<sys::TaskQueue>(1);
};

}  // namespace exo::service
