#include "service/request_fields.h"

#include <algorithm>
#include <cmath>

#include "grammar/grammar.h"
#include "service/fields.h"
#include "service/http/limits.h"
#include "wire/plan.h"

namespace exo::service {

Parsed<Json> ParseBody(std::string_view text) {
  auto json = ParseJson(text);
  if (!json) return std::unexpected(ApiError{400, json.error().message, "", "invalid_json"});
  if (!json->is_object())
    return std::unexpected(ApiError{400, "the body must be a JSON object", "", "invalid_json"});
  return *std::move(json);
}

std::string StringField(const Json& object, const char* name) {
  const Json* value = Find(object, name);
  return value != nullptr && value->is_string() ? value->get<std::string>() : "";
}

Parsed<std::string> ReadText(const Json& body, const char* name) {
  const Json* value = Find(body, name);
  if (value == nullptr) return "";
  if (!value->is_string()) return BadValue(name, fmt::format("'{}' must be a string", name));
  return value->get<std::string>();
}

std::string WithoutTag(std::string name) {
  constexpr std::string_view kTag = ":latest";
  if (name.size() > kTag.size() && name.ends_with(kTag)) name.resize(name.size() - kTag.size());
  return name;
}

Parsed<std::string> ReadModelName(const Json& body, const char* field) {
  return WithoutTag(TRY(ReadRequiredString(body, field, kMaxModelName)));
}

Parsed<std::string> ReadOptionalModelName(const Json& body) {
  const std::string given = TRY(ReadText(body, "model"));
  return given.empty() ? "" : ReadModelName(body, "model");
}

Parsed<> ReadStops(const Json& body, const char* name, std::vector<std::string>& out) {
  const Json* value = Find(body, name);
  if (value == nullptr) return {};
  const Json list = value->is_string() ? Json::array({*value}) : *value;
  if (!list.is_array())
    return BadValue(name, fmt::format("'{}' must be a string or a list of strings", name));
  if (list.size() > kMaxStops) {
    return BadValue(name, fmt::format("'{}' has {} entries, but at most {} are allowed", name,
                                      list.size(), kMaxStops));
  }
  for (const Json& stop : list) {
    if (!stop.is_string())
      return BadValue(name, fmt::format("'{}' must be a string or a list of strings", name));
    const auto& text = stop.get_ref<const std::string&>();
    if (text.empty() || text.size() > kMaxStopBytes) {
      return BadValue(name, fmt::format("an entry of '{}' has {} bytes, but must have 1 to {}",
                                        name, text.size(), kMaxStopBytes));
    }
    out.push_back(text);
  }
  return {};
}

Parsed<> ReadSeed(const Json& body, node::GenerateRequest& request) {
  const Json* value = Find(body, "seed");
  if (value == nullptr) return {};
  if (!value->is_number_integer())
    return BadValue("seed", "'seed' must be a whole number of 64 bits");
  request.sampler.seed = value->is_number_unsigned() ? value->get<uint64_t>()
                                                     : static_cast<uint64_t>(value->get<int64_t>());
  request.has_seed = true;
  return {};
}

Parsed<std::optional<TokenLimit>> ReadTokenLimit(const Json& body, const char* name) {
  const Json* value = Find(body, name);
  if (value == nullptr) return std::nullopt;
  const double number = value->is_number() ? value->get<double>() : NAN;
  if (number == -1) return TokenLimit{};
  if (!(number == std::floor(number)) || number < 1) {
    return BadValue(name, fmt::format("'{}' is {}, but must be a whole number from 1, or -1 for no "
                                      "limit",
                                      name, Shown(*value)));
  }
  return TokenLimit{static_cast<uint32_t>(std::min(number, double{UINT32_MAX}))};
}

Parsed<std::optional<wire::Codec>> ReadCodec(const Json& body) {
  const Json* wire = Find(body, "wire");
  if (wire == nullptr) return std::nullopt;
  const auto name =
      std::ranges::find(wire::kCodecNames, wire->is_string() ? wire->get<std::string>() : "");
  if (name == wire::kCodecNames.end()) {
    return BadValue("wire",
                    "'wire' must be \"f32\" (exact), \"f16\", \"int8\" or \"int4\" (fewer bytes "
                    "between devices, and other answers)");
  }
  return static_cast<wire::Codec>(name - wire::kCodecNames.begin());
}

Parsed<wire::Split> ReadSplit(const Json& body) {
  const bool spread = TRY(ReadBool(body, "spread")).value_or(false);
  const Json* split = Find(body, "split");
  if (split == nullptr) return spread ? wire::Split::kLayer : wire::Split::kAuto;
  if (spread) return BadValue("split", "'split' and 'spread' exclude each other: say one of them");
  const auto name =
      std::ranges::find(wire::kSplitNames, split->is_string() ? split->get<std::string>() : "");
  if (name == wire::kSplitNames.end()) {
    return BadValue("split",
                    "'split' must be \"auto\", \"layer\" (layers over all devices), "
                    "\"tensor\" (each layer over all devices) or \"hybrid\" (layers over groups "
                    "of devices)");
  }
  return static_cast<wire::Split>(name - wire::kSplitNames.begin());
}

Parsed<wire::Use> ReadUse(const Json& body) {
  const Json* use = Find(body, "for");
  if (use == nullptr) return wire::Use::kAuto;
  const auto name =
      std::ranges::find(wire::kUseNames, use->is_string() ? use->get<std::string>() : "");
  if (name == wire::kUseNames.end()) {
    return BadValue(
        "for",
        fmt::format("'for' is {}, but must be \"auto\", \"latency\" (one answer as fast "
                    "as possible), \"throughput\" (many answers at once) or \"prompts\" (the first "
                    "token behind a long prompt)",
                    Shown(*use)));
  }
  return static_cast<wire::Use>(name - wire::kUseNames.begin());
}

model::Data ToData(const Json& json) {
  switch (json.type()) {
    case Json::value_t::boolean:
      return {json.get<bool>()};
    case Json::value_t::number_integer:
      return {json.get<int64_t>()};
    case Json::value_t::number_unsigned:
      if (json.get<uint64_t>() <= INT64_MAX) return {json.get<int64_t>()};
      return {json.get<double>()};
    case Json::value_t::number_float:
      return {json.get<double>()};
    case Json::value_t::string:
      return {json.get<std::string>()};
    case Json::value_t::array: {
      model::DataList list;
      for (const Json& item : json) list.push_back(ToData(item));
      return {std::move(list)};
    }
    case Json::value_t::object:
      return {ToMap(json)};
    default:
      return {};
  }
}

model::DataMap ToMap(const Json& json) {
  model::DataMap map;
  if (!json.is_object()) return map;
  for (const auto& [key, value] : json.items()) map.push_back({key, ToData(value)});
  return map;
}

namespace {

struct JsonOf {
  Json operator()(std::monostate) const { return nullptr; }
  Json operator()(const model::DataList& list) const {
    Json json = Json::array();
    for (const model::Data& item : list) json.push_back(FromData(item));
    return json;
  }
  Json operator()(const model::DataMap& map) const {
    Json json = Json::object();
    for (const auto& [key, value] : map) json[key] = FromData(value);
    return json;
  }
  Json operator()(const auto& value) const { return value; }
};

}  // namespace

Json FromData(const model::Data& data) {
  return std::visit(JsonOf{}, data.value);
}

namespace {

const model::Data kNothing;

}  // namespace

const model::Data& At(const model::Data& data, std::string_view key) {
  const auto* map = std::get_if<model::DataMap>(&data.value);
  if (map == nullptr) return kNothing;
  const auto at = std::ranges::find(*map, key, &model::DataMember::key);
  return at == map->end() ? kNothing : at->value;
}

const model::Data& At(const model::Data& data, size_t index) {
  const auto* list = std::get_if<model::DataList>(&data.value);
  return list == nullptr || index >= list->size() ? kNothing : (*list)[index];
}

namespace {

bool MayBeObject(const Json& schema) {
  const Json* type = Find(schema, "type");
  if (type == nullptr || *type == "object") return true;
  return type->is_array() && std::ranges::find(*type, Json("object")) != type->end();
}

// A strict tool's arguments satisfy its schema, or the request is refused.
Parsed<> CheckStrict(const std::string& name, const Json& parameters, const std::string& param,
                     grammar::Cache& grammars) {
  const auto compiled =
      grammars.Compile(grammar::WholeAnswer(wire::GrammarKind::kJsonSchema, Dump(parameters)));
  if (compiled) return {};
  std::string message =
      fmt::format("the schema of the strict tool '{}': {}", name, compiled.error().message);
  if (compiled.error().code != ErrorCode::kUnsupported) return BadValue(param, std::move(message));
  return NotSupported(param, message + "; without 'strict' what cannot be held may be anything");
}

}  // namespace

Parsed<> AddTool(const Json& function, const ToolPlace& place, grammar::Cache& grammars,
                 node::ChatOptions& chat) {
  const auto named = [&](ApiError error) {
    error.param = fmt::format("{}.{}", place.param, error.param);
    return std::unexpected(std::move(error));
  };
  auto name = ReadRequiredString(function, "name", kMaxStopBytes);
  if (!name) return named(name.error());
  auto description = ReadText(function, "description");
  if (!description) return named(description.error());
  const auto strict = ReadBool(function, "strict");
  if (!strict) return named(strict.error());
  const Json* parameters = Find(function, place.schema);
  const std::string param = fmt::format("{}.{}", place.param, place.schema);
  if (parameters != nullptr && !parameters->is_object()) {
    return BadValue(param,
                    fmt::format("'{}' of the tool '{}' is {}, but must be a JSON schema, an object",
                                place.schema, *name, Shown(*parameters)));
  }
  if (parameters != nullptr && !MayBeObject(*parameters)) {
    return BadValue(param, fmt::format("'{}' of the tool '{}' has the type {}, but arguments are "
                                       "an object: say \"type\": \"object\"",
                                       place.schema, *name, Shown((*parameters)["type"])));
  }
  const std::string full = FullToolName(place.name_space, *name);
  if (strict->value_or(false)) {
    if (parameters != nullptr) TRY(CheckStrict(*name, *parameters, param, grammars));
    chat.strict_tools.push_back(full);
  }
  model::DataMap data = {{"name", {full}}};
  if (Find(function, "description") != nullptr)
    data.push_back({"description", {*std::move(description)}});
  if (parameters != nullptr) data.push_back({"parameters", At(place.written, place.schema)});
  model::DataMap tool = {{"type", {std::string("function")}}};
  tool.push_back({"function", {std::move(data)}});
  chat.tools.push_back({std::move(tool)});
  return {};
}

std::string FullToolName(const std::string& name_space, const std::string& name) {
  return name_space.empty() ? name : name_space + "__" + name;
}

void SetVariable(node::ChatOptions& chat, std::string name, const Json& value) {
  std::erase_if(chat.variables, [&](const model::DataMember& one) { return one.key == name; });
  chat.variables.push_back({std::move(name), ToData(value)});
}

}  // namespace exo::service
