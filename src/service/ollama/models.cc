#include "service/ollama/models.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "service/ollama/encode.h"
#include "service/ollama/modelfile.h"

namespace exo::service::ollama {
namespace {

// "7.6M", "1.5B"
std::string ParameterSize(uint64_t count) {
  const auto parameters = static_cast<double>(count);
  if (parameters >= 1e9) return fmt::format("{:.1f}B", parameters / 1e9);
  if (parameters >= 1e6) return fmt::format("{:.1f}M", parameters / 1e6);
  return fmt::format("{:.1f}K", parameters / 1e3);
}

Json DetailsJson(const std::string& family, uint64_t parameters, const std::string& weights) {
  return {{"parent_model", ""},
          {"format", "gguf"},
          {"family", family},
          {"families", {family}},
          {"parameter_size", ParameterSize(parameters)},
          {"quantization_level", weights}};
}

Json ModelJson(const node::ModelView& model) {
  return {{"name", model.name},
          {"model", model.name},
          {"size", model.bytes},
          {"digest", model.id.Hex()},
          {"details", DetailsJson(model.architecture, model.parameters, model.weights)}};
}

// Of a model that stays until memory is needed: never.
std::string ExpiresAt(const node::InstanceView& instance) {
  if (instance.keep_ms == 0 || instance.keep_ms == wire::kKeepAlways) return "9999-12-31T23:59:59Z";
  const int64_t left = static_cast<int64_t>(instance.keep_ms / 1000) -
                       static_cast<int64_t>(instance.summary.idle_ms / 1000);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return Timestamp(std::chrono::duration_cast<std::chrono::seconds>(now).count() +
                   std::max<int64_t>(left, 0));
}

}  // namespace

Json TagsJson(const std::vector<node::ModelView>& models) {
  Json list = Json::array();
  for (const node::ModelView& model : models) {
    Json json = ModelJson(model);
    json["modified_at"] = Timestamp(model.created);
    json["details"]["parent_model"] = model.base;
    list.push_back(std::move(json));
  }
  return {{"models", std::move(list)}};
}

Json RunningJson(const node::ClusterView& cluster, const std::vector<node::ModelView>& models) {
  Json list = Json::array();
  std::map<ModelId, size_t> at;  // in the list: replicas are one model
  for (const node::InstanceView& instance : cluster.instances) {
    if (instance.summary.state != wire::InstanceState::kReady) continue;
    const wire::Plan& plan = instance.summary.plan;
    const auto known = std::ranges::find_if(models, [&](const node::ModelView& one) {
      return one.id == plan.model && one.base.empty();
    });
    Json json =
        ModelJson(known != models.end() ? *known : node::ModelView{.name = plan.model_name});
    uint64_t bytes = 0;
    for (const wire::StagePlan& stage : plan.stages) bytes += stage.bytes;
    const auto [listed, fresh] = at.try_emplace(plan.model, list.size());
    if (!fresh) {
      list[listed->second]["size"] = list[listed->second]["size"].get<uint64_t>() + bytes;
      continue;
    }
    json["size"] = bytes;
    json["size_vram"] = 0;
    json["context_length"] = plan.context;
    json["expires_at"] = ExpiresAt(instance);
    list.push_back(std::move(json));
  }
  return {{"models", std::move(list)}};
}

namespace {

Json CapabilitiesOf(const node::ModelDetails& details) {
  Json capabilities = Json::array({"completion"});
  if (details.tools) capabilities.push_back("tools");
  if (details.thinking) capabilities.push_back("thinking");
  if (details.infill) capabilities.push_back("insert");
  return capabilities;
}

void ShowPreset(const node::Preset& preset, Json& json) {
  json["modelfile"] = WriteModelfile(preset);
  json["parameters"] = ParameterLines(preset);
  json["details"]["parent_model"] = preset.base;
  if (!preset.chat_template.empty()) json["template"] = preset.chat_template;
  if (!preset.license.empty()) json["license"] = preset.license;
  if (!preset.system.empty()) json["system"] = preset.system;
  for (const node::PresetMessage& one : preset.messages)
    json["messages"].push_back({{"role", one.role}, {"content", one.content}});
}

}  // namespace

Json ShowJson(const node::ModelDetails& details, const node::Preset* preset) {
  Json info = Json::object();
  for (const auto& [key, value] : details.metadata)
    std::visit([&, &name = key](const auto& known) { info[name] = known; }, value);
  if (!info.contains("general.basename") && info.contains("general.name"))
    info["general.basename"] = info["general.name"];
  info["general.parameter_count"] = details.parameters;
  const auto text = [&](const char* key) {
    const auto found = info.find(key);
    return found != info.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  Json json = {
      {"modelfile", ""},
      {"parameters", ""},
      {"template", details.chat_template},
      {"license", text("general.license")},
      {"details", DetailsJson(text("general.architecture"), details.parameters, details.weights)},
      {"capabilities", CapabilitiesOf(details)}};
  json["model_info"] = std::move(info);
  if (preset != nullptr) ShowPreset(*preset, json);
  return json;
}

}  // namespace exo::service::ollama
