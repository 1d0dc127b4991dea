#include "service/admin/desk.h"

#include <algorithm>
#include <utility>

#include "node/audit_log.h"
#include "service/admin/errors.h"
#include "service/api_keys.h"
#include "service/fields.h"
#include "service/http/paths.h"
#include "service/waiting.h"
#include "sys/system.h"

namespace exo::service::admin {
namespace {

constexpr const char* kKeysPath = "/v1/internal/keys";
constexpr std::string_view kKeyPath = "/v1/internal/keys/";
constexpr const char* kSettingsPath = "/v1/internal/settings";
constexpr int64_t kSecondMs = 1000, kDaySeconds = 86'400;

// An action that does `work` beside the loop and answers with what `render` makes of it.
template <class T, class Work, class Render>
Action OnDisk(const DeskOptions& desk, Work work, Render render) {
  return AskNode([](const Error& error) { return ErrorResponse(FromError(error)); },
                 [worker = desk.worker, work = std::move(work), render](Waiting& waiting) mutable {
                   const auto done = waiting.Callback<T>(render);
                   if (!worker->Run(std::move(work), done))
                     done(Fail(ErrorCode::kOverloaded, "the disk is busy; try again"));
                 });
}

Parsed<Json> ReadObject(const std::string& body) {
  auto json = ParseJson(body);
  if (!json) return std::unexpected(ApiError{400, json.error().message, "", "invalid_json"});
  if (!json->is_object())
    return std::unexpected(ApiError{400, "the body must be a JSON object", "", "invalid_json"});
  return *std::move(json);
}

// --- keys

struct UsedKey {
  ApiKey key;
  KeyUse use;
};
Json UsedKeyJson(const UsedKey& used) {
  const auto& [key, use] = used;
  const bool today = use.day == sys::WallClockSeconds() / kDaySeconds;
  return {{"name", key.name},
          {"scopes", ScopeNames(key.scopes)},
          {"rate", key.rate == 0 ? Json() : Json(key.rate)},
          {"quota", key.quota == 0 ? Json() : Json(key.quota)},
          {"created", key.created * kSecondMs},
          {"last_used", use.last == 0 ? Json() : Json(use.last * kSecondMs)},
          {"tokens_today", today ? use.tokens : 0}};
}

Result<std::vector<UsedKey>> UsedKeys(const std::string& folder) {
  auto uses = ReadKeyUse(folder);
  std::vector<UsedKey> all;
  for (ApiKey& key : TRY(ReadKeys(folder))) {
    const KeyUse use = uses[key.id];
    all.push_back({std::move(key), use});
  }
  return all;
}

Parsed<ApiKey> ReadNewKey(const std::string& body) {
  const Json json = TRY(ReadObject(body));
  ApiKey key{.name = TRY(ReadRequiredString(json, "name", 4 * kMaxKeyName))};
  std::vector<std::string> scopes = {"infer"};
  if (const Json* list = Find(json, "scopes")) {
    const bool are_texts = list->is_array() && std::ranges::all_of(*list, [](const Json& one) {
                             return one.is_string();
                           });
    if (!are_texts || list->empty())
      return BadValue("scopes", "'scopes' must be a list of infer, models and admin");
    scopes = list->get<std::vector<std::string>>();
  }
  const auto bits = ParseScopes(scopes);
  if (!bits) return BadValue("scopes", bits.error().message);
  key.scopes = *bits;
  key.rate = static_cast<uint32_t>(TRY(ReadInteger(json, "rate", 1, kMaxRate)).value_or(0));
  key.quota = static_cast<uint64_t>(
      TRY(ReadInteger(json, "quota", 1, static_cast<int64_t>(kMaxQuota))).value_or(0));
  return key;
}

Route ListKeys(const DeskOptions& desk) {
  return {.method = "GET",
          .path = kKeysPath,
          .read = [desk](const HttpRequest&) -> Parsed<Action> {
            return OnDisk<std::vector<UsedKey>>(
                desk, [folder = desk.folder] { return UsedKeys(folder); },
                [](const std::vector<UsedKey>& keys) {
                  Json data = Json::array();
                  for (const UsedKey& key : keys) data.push_back(UsedKeyJson(key));
                  return Json{{"data", std::move(data)}};
                });
          },
          .listed = false};
}

Route MakeKey(const DeskOptions& desk) {
  return {.method = "POST",
          .path = kKeysPath,
          .read = [desk](const HttpRequest& request) -> Parsed<Action> {
            ApiKey key = TRY(ReadNewKey(request.body));
            Json shown = UsedKeyJson({key, {}});
            shown.erase("created");
            return OnDisk<std::string>(
                desk, [folder = desk.folder, key = std::move(key)] { return AddKey(folder, key); },
                [shown = std::move(shown)](const std::string& text) {
                  Json answer = shown;
                  answer["key"] = text;
                  return answer;
                });
          },
          .listed = false};
}

Route DropKey(const DeskOptions& desk) {
  return {.method = "DELETE",
          .path = std::string(kKeyPath),
          .read = [desk](const HttpRequest& request) -> Parsed<Action> {
            const std::string name = Unescape(request.path.substr(kKeyPath.size()));
            return OnDisk<bool>(
                desk,
                [folder = desk.folder, name]() -> Result<bool> {
                  TRY(RemoveKey(folder, name));
                  return true;
                },
                [](bool) { return Json{{"ok", true}}; });
          },
          .listed = false};
}

// --- settings

Json SettingJson(const SettingView& view) {
  Json json = {{"name", view.name},        {"value", view.value}, {"origin", view.origin},
               {"default", view.fallback}, {"kind", view.kind},   {"help", view.help},
               {"restart", true}};
  if (!view.source.empty()) json["source"] = view.source;
  if (view.is_secret) json["secret"] = true;
  if (view.next) json["next"] = *view.next;
  return json;
}

Json SettingsJson(const SettingsView& view) {
  Json data = Json::array();
  for (const SettingView& one : view.settings) data.push_back(SettingJson(one));
  Json json = {{"file", view.file}, {"data", std::move(data)}};
  if (!view.problem.empty()) json["problem"] = view.problem;
  return json;
}

Json ChangedJson(const SettingsChanged& changed) {
  Json hidden = Json::array();
  for (const auto& [name, by] : changed.hidden) hidden.push_back({{"name", name}, {"by", by}});
  return {{"now", changed.now}, {"restart", changed.later}, {"hidden", std::move(hidden)}};
}

Route ShowSettings(const DeskOptions& desk) {
  return {.method = "GET",
          .path = kSettingsPath,
          .read = [desk](const HttpRequest&) -> Parsed<Action> {
            return OnDisk<SettingsView>(
                desk,
                [settings = desk.settings]() -> Result<SettingsView> { return settings->Read(); },
                &SettingsJson);
          },
          .listed = false};
}

Route ChangeSettings(const DeskOptions& desk) {
  return {.method = "PATCH",
          .path = kSettingsPath,
          .read = [desk](const HttpRequest& request) -> Parsed<Action> {
            std::vector<SettingChange> changes;
            const Json json = TRY(ReadObject(request.body));
            for (const auto& [name, value] : json.items()) changes.push_back({name, value});
            if (changes.empty())
              return std::unexpected(ApiError{400, "the body names no setting: {\"log\": \"info\"}",
                                              "", "invalid_value"});
            return OnDisk<SettingsChanged>(
                desk,
                [settings = desk.settings, changes = std::move(changes)] {
                  return settings->Change(changes);
                },
                &ChangedJson);
          },
          .listed = false};
}

// --- audit

struct Audit {
  node::AuditTrail trail;
  std::string problem;  // of a log that somebody has changed
};

Json AuditJson(const Audit& audit) {
  Json data = Json::array();
  for (const node::AuditEntry& entry : audit.trail.entries) {
    data.push_back({{"time", entry.time * kSecondMs},
                    {"what", entry.event},
                    {"device", entry.device.IsZero() ? "" : entry.device.Hex()},
                    {"name", entry.name},
                    {"detail", entry.detail}});
  }
  Json json = {{"data", std::move(data)}, {"intact", audit.problem.empty()}};
  if (!audit.problem.empty()) json["problem"] = audit.problem;
  return json;
}

Route ShowAudit(const DeskOptions& desk) {
  return {.method = "GET",
          .path = "/v1/internal/audit",
          .read = [desk](const HttpRequest&) -> Parsed<Action> {
            return OnDisk<Audit>(
                desk,
                [folder = desk.folder]() -> Result<Audit> {
                  auto trail = node::AuditLog::Read(folder);
                  if (trail) return Audit{.trail = *std::move(trail)};
                  if (trail.error().code != ErrorCode::kCorrupt)
                    return std::unexpected(trail.error());
                  return Audit{.problem = trail.error().message};
                },
                &AuditJson);
          },
          .listed = false};
}

}  // namespace

std::vector<Route> DeskRoutes(const DeskOptions& options) {
  std::vector<Route> routes;
  if (!options.folder.empty())
    routes = {ListKeys(options), MakeKey(options), DropKey(options), ShowAudit(options)};
  if (options.settings != nullptr) {
    routes.push_back(ShowSettings(options));
    routes.push_back(ChangeSettings(options));
  }
  return routes;
}

}  // namespace exo::service::admin
