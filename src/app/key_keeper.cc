#include "app/key_keeper.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "app/client_commands.h"
#include "app/data_folder.h"
#include "sys/machine.h"
#include "sys/system.h"

namespace exo::app {
namespace {

using nlohmann::json;
using service::ApiKey;
using service::KeyUse;

constexpr const char* kKeysPath = "/v1/internal/keys";
constexpr int64_t kSecondMs = 1000, kDaySeconds = 86'400;

class FolderKeys final : public KeyKeeper {
 public:
  std::string Owner() const override { return ""; }

  Result<std::string> Add(const ApiKey& key) override { return service::AddKey(folder_, key); }

  Result<std::vector<KeptKey>> List() override {
    auto uses = service::ReadKeyUse(folder_);
    const int64_t today = sys::WallClockSeconds() / kDaySeconds;
    std::vector<KeptKey> all;
    for (ApiKey& key : TRY(service::ReadKeys(folder_))) {
      const KeyUse use = uses[key.id];
      all.push_back({.key = std::move(key),
                     .last_used = use.last,
                     .tokens_today = use.day == today ? use.tokens : 0});
    }
    return all;
  }

  Result<void> Remove(const std::string& name) override {
    return service::RemoveKey(folder_, name);
  }

 private:
  const std::string folder_ = sys::DataFolder();
};

// A limit of the API, where none is null.
template <class T>
T Limit(const json& key, const char* name) {
  return key.contains(name) && !key[name].is_null() ? key[name].get<T>() : T{0};
}

Result<KeptKey> ReadKey(const json& from) {
  ApiKey key{.name = from.value("name", ""),
             .rate = Limit<uint32_t>(from, "rate"),
             .quota = Limit<uint64_t>(from, "quota"),
             .created = from.value("created", int64_t{0}) / kSecondMs};
  key.scopes = TRY(service::ParseScopes(from.value("scopes", std::vector<std::string>{})));
  return KeptKey{.key = std::move(key),
                 .last_used = Limit<int64_t>(from, "last_used") / kSecondMs,
                 .tokens_today = from.value("tokens_today", uint64_t{0})};
}

// Whether this command may write keys into the folder. What root would write into that of another
// user, that user's node could not read.
bool IsOwn(const std::string& folder) {
  if (folder != sys::DataFolder()) return false;
  const auto rights = sys::ReadRights(folder);
  return rights && rights->mine;
}

class NodeKeys final : public KeyKeeper {
 public:
  explicit NodeKeys(const RunningNode& node) : folder_(node.folder), api_(ClientOf(node)) {}

  std::string Owner() const override { return " of the machine's service"; }

  Result<std::string> Add(const ApiKey& key) override {
    json body = {{"name", key.name}, {"scopes", service::ScopeNames(key.scopes)}};
    if (key.rate > 0) body["rate"] = key.rate;
    if (key.quota > 0) body["quota"] = key.quota;
    const json made = TRY(Answer(api_.Post(kKeysPath, body)));
    return made.value("key", "");
  }

  Result<std::vector<KeptKey>> List() override {
    const json answer = TRY(Answer(api_.Get(kKeysPath)));
    std::vector<KeptKey> all;
    for (const json& key : answer.value("data", json::array())) all.push_back(TRY(ReadKey(key)));
    return all;
  }

  Result<void> Remove(const std::string& name) override {
    TRY(Answer(api_.Delete(std::string(kKeysPath) + "/" + EscapedSegment(name))));
    return {};
  }

 private:
  // The node says that it needs a key to make a key; who lacks one cannot make it so.
  Result<json> Answer(Result<json> answer) const {
    if (answer || answer.error().code != ErrorCode::kDenied) return answer;
    return Fail(ErrorCode::kDenied,
                "the node that runs here is the machine's service; its keys are in {}, which only "
                "root may change: put sudo before the command, or name your own folder by EXO_HOME",
                folder_);
  }

  const std::string folder_;
  const HttpClient api_;
};

}  // namespace

std::unique_ptr<KeyKeeper> FindKeyKeeper() {
  const auto node = FindNodeToAsk();
  if (node && !IsOwn(node->folder)) return std::make_unique<NodeKeys>(*node);
  return std::make_unique<FolderKeys>();
}

}  // namespace exo::app
