#include "app/model_views.h"

#include <fmt/ranges.h>

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "app/client_commands.h"
#include "app/model_path.h"
#include "app/output.h"
#include "app/terminal.h"
#include "base/text.h"
#include "base/units.h"

namespace exo::app {
namespace {

using nlohmann::json;

// What `exo show` tells of a license: it may be a whole contract.
constexpr size_t kLicenseColumns = 60;

std::string TextAt(const json& object, const char* key) {
  const json value = object.is_object() ? object.value(key, json()) : json();
  return value.is_string() ? value.get<std::string>() : "";
}

std::string FirstLine(const std::string& text) {
  std::string line = text.substr(0, text.find('\n'));
  if (line.size() > kLicenseColumns) line.resize(kLicenseColumns);
  line = ToUtf8(line);
  return line.size() < text.size() ? line + " ..." : line;
}

std::vector<std::string> Texts(const json& list) {
  std::vector<std::string> texts;
  for (const json& one : list.is_array() ? list : json::array()) {
    if (one.is_string()) texts.push_back(one);
  }
  return texts;
}

// What /v1/models, /api/show and the internal route tell of a model, in one object.
Result<json> DescribeModel(const HttpClient& api, const std::string& name) {
  const json entry = TRY(GetModel(api, name));
  const json details = TRY(api.Post("/api/show", {{"model", name}}));
  const json info = details.value("model_info", json::object());
  const json exo = entry.value("exo", json::object());
  json shown = {{"model", entry.value("id", name)},
                {"model_id", exo.value("model_id", "")},
                {"architecture", exo.value("architecture", "")},
                {"title", TextAt(info, "general.name")},
                {"layers", exo.value("layers", 0)},
                {"bytes", exo.value("bytes", uint64_t{0})},
                {"parameters", info.value("general.parameter_count", uint64_t{0})},
                {"weights", TextAt(details.value("details", json::object()), "quantization_level")},
                {"context_length", entry.value("context_length", 0)},
                {"capabilities", details.value("capabilities", json::array())},
                {"license", details.value("license", "")},
                {"base", exo.value("base", json())},
                {"state", exo.value("state", "")},
                {"replicas", exo.value("replicas", 0)},
                {"names", exo.value("names", json::array())}};
  // Without the node's token (its disk was full) nobody may know where files lie.
  if (const auto place = api.Get("/v1/internal/models/" + EscapedSegment(name))) {
    shown["path"] = place->value("path", "");
    shown["devices"] = place->value("devices", json::array());
  }
  return shown;
}

void PrintModel(const json& model) {
  std::vector<std::pair<std::string, std::string>> rows;
  const auto row = [&](const char* name, const std::string& value) {
    if (!value.empty()) rows.emplace_back(name, Printable(value));
  };
  row("model", TextAt(model, "model"));
  row("title", TextAt(model, "title"));
  row("made from", TextAt(model, "base"));
  row("architecture",
      fmt::format("{}, {} layers", TextAt(model, "architecture"), model.value("layers", 0)));
  if (const uint64_t count = model.value("parameters", uint64_t{0}); count > 0)
    row("parameters", CountText(count));
  row("weights", fmt::format("{} ({})", TextAt(model, "weights"),
                             FormatSize(model.value("bytes", uint64_t{0}))));
  row("context", fmt::format("{} tokens", model.value("context_length", 0)));
  row("can", fmt::format("{}", fmt::join(Texts(model["capabilities"]), ", ")));
  row("license", FirstLine(TextAt(model, "license")));
  row("also named", fmt::format("{}", fmt::join(Texts(model["names"]), ", ")));
  const int replicas = model.value("replicas", 0);
  row("state", TextAt(model, "state") +
                   (replicas > 1 ? fmt::format(" on each of {} devices", replicas) : ""));
  row("file", TextAt(model, "path"));
  if (model.contains("devices"))
    row("on", fmt::format("{}", fmt::join(Texts(model["devices"]), ", ")));
  row("id", TextAt(model, "model_id"));
  for (const auto& [name, value] : rows) Print("{}{}\n", Dim(fmt::format("{:<14}", name)), value);
}

}  // namespace

Result<json> GetModel(const HttpClient& api, const std::string& name) {
  auto known = api.Get("/v1/models/" + EscapedSegment(name));
  if (known || known.error().code != ErrorCode::kNotFound) return known;
  const json models = TRY(api.Get("/v1/models"));
  std::vector<std::string> names;
  for (const json& model : models.value("data", json::array()))
    names.push_back(model.value("id", ""));
  const std::string near = Nearest(name, names);
  return Fail(ErrorCode::kNotFound,
              "there is no model '{}'; {}exo models lists those that there are, exo pull brings "
              "others",
              name, near.empty() ? "" : fmt::format("did you mean {}? ", near));
}

std::string CountText(uint64_t count) {
  const auto value = static_cast<double>(count);
  if (value >= 1e9) return fmt::format("{:.1f} B", value / 1e9);
  if (value >= 1e6) return fmt::format("{:.0f} M", value / 1e6);
  return fmt::format("{}", count);
}

Result<void> RunModels(const Settings& settings, const ListOptions& options) {
  const json models = TRY(TRY(OwnNode(settings)).Get("/v1/models"));
  if (options.json) {
    PrintJson(models["data"]);
    return {};
  }
  if (options.names) {
    for (const json& model : models["data"]) Print("{}\n", Printable(model.value("id", "")));
    return {};
  }
  if (models["data"].empty()) {
    Print("there is no model yet; bring one here with: exo pull NAME\n");
    return {};
  }
  std::vector<std::vector<std::string>> rows = {
      {"MODEL", "SIZE", "KIND", "CONTEXT", "WHERE", "STATE"}};
  for (const json& model : models["data"]) {
    const json exo = model.value("exo", json::object());
    const bool held = exo.value("held", true);
    std::string name = model.value("id", "");
    for (const json& other : exo.value("names", json::array()))
      name += ", " + other.get<std::string>();
    rows.push_back({name, FormatSize(exo.value("bytes", uint64_t{0})),
                    exo.value("architecture", ""),
                    fmt::format("{}", model.value("context_length", 0)),
                    exo.value("local", false) ? "here"
                    : held                    ? "another device"
                                              : "no file",
                    exo.value("state", "")});
  }
  Print("{}", Table(rows));
  return {};
}

Result<void> RunShow(const Settings& settings, const std::string& model, bool as_json) {
  const HttpClient api = TRY(OwnNode(settings));
  std::string name = model;
  if (LooksLikePath(model) && !MayBeRepository(model)) {
    const json added = TRY(api.Post("/v1/internal/models", {{"path", TRY(PathForNode(model))}}));
    name = added.value("model", model);
  }
  const json shown = TRY(DescribeModel(api, name));
  if (as_json) {
    PrintJson(shown);
  } else {
    PrintModel(shown);
  }
  return {};
}

Result<void> RunCopy(const Settings& settings, const CopyOptions& options) {
  const HttpClient api = TRY(OwnNode(settings));
  TRY(api.Post("/api/copy", {{"source", options.model}, {"destination", options.name}}));
  if (options.json) {
    PrintJson({{"model", options.name}, {"base", options.model}});
  } else {
    Print("{} is {} under a further name; exo rm {} forgets it\n", Printable(options.name),
          Printable(options.model), Printable(options.name));
  }
  return {};
}

}  // namespace exo::app
