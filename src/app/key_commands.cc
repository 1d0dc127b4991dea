#include "app/key_commands.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>

#include "app/key_keeper.h"
#include "app/output.h"
#include "app/terminal.h"
#include "base/text.h"
#include "service/api_keys.h"

namespace exo::app {
namespace {

using nlohmann::json;
using service::ApiKey;

std::optional<uint64_t> Whole(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string OrAny(uint64_t limit, std::string_view unit) {
  return limit == 0 ? "any" : fmt::format("{}{}", limit, unit);
}

json KeyJson(const KeptKey& kept) {
  const ApiKey& key = kept.key;
  return {{"name", key.name},
          {"scopes", service::ScopeNames(key.scopes)},
          {"rate_per_minute", key.rate == 0 ? json() : json(key.rate)},
          {"quota_per_day", key.quota == 0 ? json() : json(key.quota)},
          {"created", key.created},
          {"last_used", kept.last_used == 0 ? json() : json(kept.last_used)},
          {"tokens_today", kept.tokens_today}};
}

}  // namespace

Result<uint32_t> ParseRate(const std::string& text) {
  std::string_view number = text;
  if (number.ends_with("/min")) number.remove_suffix(4);
  const auto value = Whole(number);
  if (value && *value > 0 && *value <= service::kMaxRate) return static_cast<uint32_t>(*value);
  return Fail(ErrorCode::kInvalid,
              "--rate is a number of requests in a minute from 1 to {}, such as 60 or 60/min, not "
              "'{}'",
              service::kMaxRate, Printable(text));
}

Result<uint64_t> ParseQuota(const std::string& text) {
  std::string_view number = text;
  if (number.ends_with("/day")) number.remove_suffix(4);
  uint64_t unit = 1;
  if (number.ends_with('k')) unit = 1000;
  if (number.ends_with('M')) unit = 1'000'000;
  if (unit > 1) number.remove_suffix(1);
  const auto value = Whole(number);
  if (value && *value > 0 && *value <= service::kMaxQuota / unit) return *value * unit;
  return Fail(ErrorCode::kInvalid,
              "--quota is a number of tokens in a day, such as 100000, 100k or 2M, not '{}'",
              Printable(text));
}

Result<void> RunKeyAdd(const KeyOptions& options) {
  ApiKey key{.name = options.name};
  key.scopes = TRY(service::ParseScopes(options.scopes.empty() ? std::vector<std::string>{"infer"}
                                                               : options.scopes));
  if (!options.rate.empty()) key.rate = TRY(ParseRate(options.rate));
  if (!options.quota.empty()) key.quota = TRY(ParseQuota(options.quota));
  const auto keeper = FindKeyKeeper();
  const std::string text = TRY(keeper->Add(key));
  if (options.json) {
    json shown = KeyJson({.key = key});
    shown["key"] = text;
    for (const char* later : {"created", "last_used", "tokens_today"}) shown.erase(later);
    PrintJson(shown);
    return {};
  }
  Print("{}\n", text);
  Note("exo: this is the key '{}'{} ({}); it is not kept and cannot be shown again\n",
       Printable(key.name), keeper->Owner(), fmt::join(service::ScopeNames(key.scopes), ", "));
  return {};
}

Result<void> RunKeyList(const KeyOptions& options) {
  const std::vector<KeptKey> keys = TRY(FindKeyKeeper()->List());
  if (options.json) {
    json list = json::array();
    for (const KeptKey& kept : keys) list.push_back(KeyJson(kept));
    PrintJson(list);
    return {};
  }
  if (keys.empty()) {
    Print("there is no key; make one with: exo key add NAME\n");
    return {};
  }
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "SCOPES", "RATE", "QUOTA", "TODAY", "LAST USED"}};
  for (const KeptKey& kept : keys) {
    const ApiKey& key = kept.key;
    rows.push_back({key.name, fmt::format("{}", fmt::join(service::ScopeNames(key.scopes), ",")),
                    OrAny(key.rate, "/min"), OrAny(key.quota, "/day"),
                    fmt::format("{}", kept.tokens_today), TimeText(kept.last_used)});
  }
  Print("{}", Table(rows));
  return {};
}

Result<void> RunKeyRemove(const KeyOptions& options) {
  const auto keeper = FindKeyKeeper();
  TRY(keeper->Remove(options.name));
  if (options.json) {
    PrintJson({{"removed", options.name}});
  } else {
    Print("the key '{}'{} is removed\n", Printable(options.name), keeper->Owner());
  }
  return {};
}

}  // namespace exo::app
