#include "service/api_keys.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>

#include "base/log.h"
#include "base/text.h"
#include "net/private_file.h"
#include "service/json.h"
#include "service/secret_text.h"

namespace exo::service {
namespace {

constexpr std::array kScopes = {Scope::kInfer, Scope::kModels, Scope::kAdmin};
constexpr int kLockAttempts = 100;
constexpr auto kLockPause = std::chrono::milliseconds(20);
constexpr int64_t kDayMs = 86'400'000;
constexpr double kMinuteMs = 60'000;

std::string KeysPath(const std::string& folder) {
  return folder + "/api-keys.json";
}
std::string UsePath(const std::string& folder) {
  return folder + "/api-keys-use.json";
}
std::string TokenPath(const std::string& folder) {
  return folder + "/admin-token";
}

Json ToJson(const ApiKey& key) {
  return {{"id", fmt::format("{:016x}", key.id)},
          {"name", key.name},
          {"sha256", key.hash.Hex()},
          {"scopes", ScopeNames(key.scopes)},
          {"rate", key.rate},
          {"quota", key.quota},
          {"created", key.created}};
}

// Of the field of an object that this program wrote.
template <class T>
T Value(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_number_integer() ? found->get<T>() : T{};
}
std::string Text(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

std::optional<uint64_t> IdOf(const std::string& hex) {
  const auto bytes = Bytes<struct KeyIdTag, 8>::FromHex(hex);
  if (!bytes) return std::nullopt;
  uint64_t id = 0;
  for (const uint8_t byte : bytes->bytes) id = id << 8 | byte;
  return id;
}

std::optional<ApiKey> KeyFrom(const Json& json) {
  if (!json.is_object() || !json.contains("scopes") || !json["scopes"].is_array())
    return std::nullopt;
  std::vector<std::string> names;
  for (const Json& one : json["scopes"]) {
    if (!one.is_string()) return std::nullopt;
    names.push_back(one);
  }
  const auto id = IdOf(Text(json, "id"));
  const auto hash = Hash256::FromHex(Text(json, "sha256"));
  const auto scopes = ParseScopes(names);
  if (!id || *id == 0 || !hash || !scopes) return std::nullopt;
  return ApiKey{.id = *id,
                .name = Text(json, "name"),
                .hash = *hash,
                .scopes = *scopes,
                .rate = Value<uint32_t>(json, "rate"),
                .quota = Value<uint64_t>(json, "quota"),
                .created = Value<int64_t>(json, "created")};
}

Result<void> WriteKeys(const std::string& folder, const std::vector<ApiKey>& keys) {
  Json list = Json::array();
  for (const ApiKey& key : keys) list.push_back(ToJson(key));
  return sys::WriteFileAtomically(KeysPath(folder), Dump({{"keys", list}}) + "\n", 0600);
}

// Two commands at once: one waits for the other.
Result<std::unique_ptr<sys::FileLock>> LockKeys(const std::string& folder) {
  TRY(sys::MakeFolders(folder));
  for (int attempt = 0;; ++attempt) {
    auto lock = sys::FileLock::Acquire(folder + "/api-keys.lock", "");
    if (lock || lock.error().code != ErrorCode::kOverloaded) return lock;
    if (attempt == kLockAttempts)
      return Fail(ErrorCode::kOverloaded, "another command is writing the keys; try again");
    std::this_thread::sleep_for(kLockPause);
  }
}

std::string NamesOf(const std::vector<ApiKey>& keys) {
  std::vector<std::string> names;
  for (const ApiKey& key : keys) names.push_back(key.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

Result<void> CheckNewKey(const ApiKey& key, const std::vector<ApiKey>& keys) {
  if (key.name.empty() || key.name.size() > kMaxKeyName || Printable(key.name) != key.name) {
    return Fail(ErrorCode::kInvalid,
                "a key's name has 1 to {} bytes and no control characters, not '{}'", kMaxKeyName,
                Printable(key.name.substr(0, 2 * kMaxKeyName)));
  }
  if (std::ranges::find(keys, key.name, &ApiKey::name) != keys.end()) {
    return Fail(ErrorCode::kInvalid,
                "there is a key '{}' already; take another name, or remove it first with: exo key "
                "rm {}",
                key.name, key.name);
  }
  if (keys.size() >= kMaxKeys) {
    return Fail(ErrorCode::kOverloaded,
                "there are {} keys, which is the limit; remove one with: exo key rm NAME",
                keys.size());
  }
  return {};
}

int64_t SystemMs() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

std::string UseText(const std::map<uint64_t, KeyUse>& all) {
  Json json = Json::object();
  for (const auto& [id, use] : all) {
    json[fmt::format("{:016x}", id)] = {
        {"last", use.last}, {"day", use.day}, {"tokens", use.tokens}};
  }
  return Dump(json) + "\n";
}

std::optional<Hash256> LoadAdminToken(const std::string& folder) {
  auto token = ReadAdminToken(folder);
  if (token) return HashOfSecret(*token);
  if (token.error().code == ErrorCode::kInvalid)
    LOG(kWarning, "{}: a new one is made", token.error().message);
  const std::string made = std::string(kKeyPrefix) + "admin-" + NewSecretText();
  const auto folders = sys::MakeFolders(folder);
  const auto written =
      folders ? sys::WriteFileAtomically(TokenPath(folder), made + "\n", 0600) : folders;
  if (written) return HashOfSecret(made);
  LOG(kWarning, "commands of this machine cannot load or unload models: {}",
      written.error().message);
  return std::nullopt;
}

}  // namespace

std::string_view NameOf(Scope scope) {
  switch (scope) {
    case Scope::kOpen:
      return "open";
    case Scope::kInfer:
      return "infer";
    case Scope::kModels:
      return "models";
    case Scope::kAdmin:
      return "admin";
  }
  return "admin";
}

Result<uint8_t> ParseScopes(const std::vector<std::string>& names) {
  uint8_t scopes = 0;
  for (const std::string& name : names) {
    const auto found = std::ranges::find(kScopes, name, [](Scope s) { return NameOf(s); });
    if (found == kScopes.end()) {
      return Fail(ErrorCode::kInvalid, "there is no scope '{}'; there are infer, models and admin",
                  Printable(name));
    }
    scopes |= Caller::ScopeBit(*found);
  }
  return scopes;
}

std::vector<std::string> ScopeNames(uint8_t scopes) {
  std::vector<std::string> names;
  for (const Scope scope : kScopes) {
    if ((scopes & Caller::ScopeBit(scope)) != 0) names.emplace_back(NameOf(scope));
  }
  return names;
}

Result<std::vector<ApiKey>> ReadKeys(const std::string& folder) {
  const std::string path = KeysPath(folder);
  if (!sys::NameExists(path)) return std::vector<ApiKey>{};
  const std::string text = TRY(net::ReadPrivateFile(path));
  const auto corrupt = [&] {
    return Fail(ErrorCode::kCorrupt,
                "{} is not what exo wrote; restore it, or delete it and make new keys with: exo "
                "key add NAME",
                path);
  };
  const auto json = ParseJson(text);
  if (!json || !json->is_object() || !json->contains("keys") || !(*json)["keys"].is_array())
    return corrupt();
  std::vector<ApiKey> keys;
  for (const Json& one : (*json)["keys"]) {
    auto key = KeyFrom(one);
    if (!key) return corrupt();
    keys.push_back(*std::move(key));
  }
  if (keys.size() > kMaxKeys) return corrupt();
  return keys;
}

std::map<uint64_t, KeyUse> ReadKeyUse(const std::string& folder) {
  std::map<uint64_t, KeyUse> all;
  const auto text = sys::ReadPlainFile(UsePath(folder), 1 << 20);
  const auto json = text ? ParseJson(*text) : Json();
  if (!json || !json->is_object()) return all;
  for (const auto& [name, use] : json->items()) {
    const auto id = IdOf(name);
    if (!id || !use.is_object()) continue;
    all[*id] = {.last = Value<int64_t>(use, "last"),
                .day = Value<int64_t>(use, "day"),
                .tokens = Value<uint64_t>(use, "tokens")};
  }
  return all;
}

Result<std::string> AddKey(const std::string& folder, ApiKey key) {
  const auto lock = TRY(LockKeys(folder));
  std::vector<ApiKey> keys = TRY(ReadKeys(folder));
  TRY(CheckNewKey(key, keys));
  std::string text = std::string(kKeyPrefix) + NewSecretText();
  key.hash = HashOfSecret(text);
  do {
    key.id = sys::RandomValue<uint64_t>();
  } while (key.id == 0 || std::ranges::find(keys, key.id, &ApiKey::id) != keys.end());
  key.created = SystemMs() / 1000;
  keys.push_back(std::move(key));
  TRY(WriteKeys(folder, keys));
  return text;
}

Result<void> RemoveKey(const std::string& folder, const std::string& name) {
  const auto lock = TRY(LockKeys(folder));
  std::vector<ApiKey> keys = TRY(ReadKeys(folder));
  const size_t removed = std::erase_if(keys, [&](const ApiKey& key) { return key.name == name; });
  if (removed == 0) {
    return Fail(ErrorCode::kNotFound, "there is no key '{}'; {}", Printable(name),
                keys.empty() ? "there are none" : "there are: " + NamesOf(keys));
  }
  return WriteKeys(folder, keys);
}

Result<std::string> ReadAdminToken(const std::string& folder) {
  const std::string path = TokenPath(folder);
  if (!sys::NameExists(path))
    return Fail(ErrorCode::kNotFound, "{} is not there; a node makes it when it starts", path);
  std::string token = TRY(net::ReadPrivateFile(path));
  while (token.ends_with('\n')) token.pop_back();
  const bool whole = token.size() > kSecretBytes && token.size() <= kMaxSecretText &&
                     token.starts_with(kKeyPrefix) && token.find('\n') == std::string::npos;
  if (!whole) return Fail(ErrorCode::kInvalid, "{} is no admin token", path);
  return token;
}

KeyRing::KeyRing(KeyRingOptions options)
    : options_(std::move(options)), admin_(LoadAdminToken(options_.folder)) {
  for (const auto& [id, use] : ReadKeyUse(options_.folder)) states_[id].use = use;
  Reload();
}

KeyRing::~KeyRing() {
  Close();
}

// The queue drops what has not begun.
void KeyRing::Close() {
  if (writer_ == nullptr) return;
  writer_.reset();
  if (used_) (void)sys::WriteFileAtomically(UsePath(options_.folder), UseText(Uses()), 0600);
}

std::map<uint64_t, KeyUse> KeyRing::Uses() const {
  std::map<uint64_t, KeyUse> all;
  for (const auto& [id, state] : states_) all[id] = state.use;
  return all;
}

int64_t KeyRing::NowMs() const {
  return options_.now_ms ? options_.now_ms() : SystemMs();
}

// Keys that cannot be read let nobody in.
void KeyRing::Reload() {
  const auto look = sys::RealDisk().Look(KeysPath(options_.folder));
  const sys::FileStamp stamp = look ? *look : sys::FileStamp{};
  if (stamp == stamp_) return;
  stamp_ = stamp;
  auto keys = ReadKeys(options_.folder);
  if (!keys) LOG(kError, "no API key is valid now: {}", keys.error().message);
  const bool read = keys.has_value();
  keys_ = read ? *std::move(keys) : std::vector<ApiKey>{};
  if (!read) return;  // what they have used counts when they are back
  std::erase_if(states_, [this](const auto& one) { return Find(one.first) == nullptr; });
}

const ApiKey* KeyRing::Find(uint64_t id) const {
  const auto found = std::ranges::find(keys_, id, &ApiKey::id);
  return found == keys_.end() ? nullptr : &*found;
}

size_t KeyRing::size() {
  Reload();
  return keys_.size();
}

std::optional<Caller> KeyRing::Identify(std::string_view credential) {
  if (credential.empty() || credential.size() > kMaxSecretText) return std::nullopt;
  Reload();
  const Hash256 hash = HashOfSecret(credential);
  if (admin_ && SameHash(hash, *admin_))
    return Caller{.name = "admin-token", .scopes = Caller::ScopeBit(Scope::kAdmin)};
  const ApiKey* found = nullptr;
  for (const ApiKey& key : keys_) {
    if (SameHash(hash, key.hash)) found = &key;
  }
  if (found == nullptr) return std::nullopt;
  return CallerWith(*found);
}

std::optional<Caller> KeyRing::CallerOf(uint64_t id) {
  Reload();
  const ApiKey* key = Find(id);
  if (key == nullptr) return std::nullopt;
  return CallerWith(*key);
}

Caller KeyRing::CallerWith(const ApiKey& key) {
  return {.key = key.id,
          .name = key.name,
          .scopes = key.scopes,
          .gate = this,
          .shares_prefixes = options_.share_prefixes};
}

KeyUse& KeyRing::Today(uint64_t id) {
  KeyUse& use = states_[id].use;
  const int64_t day = NowMs() / kDayMs;
  if (use.day != day) {
    use.day = day;
    use.tokens = 0;
  }
  return use;
}

Parsed<> KeyRing::Admit(const Caller& caller) {
  const ApiKey* key = Find(caller.key);
  if (key == nullptr) return {};
  const int64_t now = NowMs();
  State& state = states_[key->id];
  if (key->rate > 0) {
    const double limit = key->rate;
    const auto passed = static_cast<double>(std::max<int64_t>(0, now - state.filled_ms));
    state.budget = state.begun ? std::min(limit, state.budget + passed * limit / kMinuteMs) : limit;
    state.begun = true;
    state.filled_ms = now;
    if (state.budget < 1) {
      const double wait_ms = (1 - state.budget) * kMinuteMs / limit;
      return std::unexpected(
          ApiError{429,
                   fmt::format("the key '{}' may send {} requests in a minute; try again later",
                               key->name, key->rate),
                   "", "rate_limit_exceeded", static_cast<uint32_t>(std::ceil(wait_ms / 1000))});
    }
    state.budget -= 1;
  }
  Today(key->id).last = now / 1000;
  changed_ = used_ = true;
  return {};
}

Parsed<> KeyRing::CheckQuota(const Caller& caller) {
  const ApiKey* key = Find(caller.key);
  if (key == nullptr || key->quota == 0) return {};
  const uint64_t tokens = Today(key->id).tokens;
  if (tokens < key->quota) return {};
  return std::unexpected(ApiError{
      429,
      fmt::format("the key '{}' may take {} tokens in a day (UTC) and has taken {}; try "
                  "again tomorrow",
                  key->name, key->quota, tokens),
      "", "insufficient_quota", static_cast<uint32_t>((kDayMs - NowMs() % kDayMs + 999) / 1000)});
}

std::optional<uint64_t> KeyRing::TokensLeft(const Caller& caller) {
  const ApiKey* key = Find(caller.key);
  if (key == nullptr || key->quota == 0) return std::nullopt;
  return key->quota - std::min(key->quota, Today(key->id).tokens);
}

void KeyRing::CountTokens(const Caller& caller, uint64_t tokens) {
  if (Find(caller.key) == nullptr) return;  // removed meanwhile
  Today(caller.key).tokens += tokens;
  changed_ = used_ = true;
}

void KeyRing::Save() {
  if (!changed_ || writer_ == nullptr) return;
  const bool begun = writer_->Post([path = UsePath(options_.folder), text = UseText(Uses())] {
    const auto written = sys::WriteFileAtomically(path, text, 0600);
    if (!written) LOG(kInfo, "what API keys have used is not kept: {}", written.error().message);
  });
  changed_ = !begun;
}

}  // namespace exo::service
