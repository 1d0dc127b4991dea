#include "service/mcp/views.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/units.h"
#include "service/mcp/tools.h"
#include "wire/plan.h"

namespace exo::service::mcp {
namespace {

uint64_t FreeBytes(const wire::DeviceRecord& device) {
  return device.memory_budget - std::min(device.memory_budget, device.memory_reserved);
}

Json DeviceJson(const node::NodeView& view) {
  const wire::DeviceRecord total = wire::TotalOf(view.record);
  return {{"name", view.record.name},
          {"state", view.state},
          {"cores", total.cores},
          {"memory_bytes", total.memory_total},
          {"memory_for_models_bytes", total.memory_budget},
          {"memory_free_bytes", FreeBytes(total)},
          {"decode_gbps", total.decode_gbps},
          {"prefill_gops", total.prefill_gops},
          {"rtt_ms", view.rtt_ms},
          {"health", view.health}};
}

const char* PlaceOf(const node::ModelView& model) {
  if (model.local) return "here";
  return model.held ? "another device" : "no file";
}

}  // namespace

Json ModelsResult(const std::vector<node::ModelView>& models) {
  std::string text;
  Json list = Json::array();
  for (const node::ModelView& model : models) {
    text +=
        fmt::format("{}: {}, context {} tokens, {}{}\n", model.name, FormatSize(model.bytes),
                    model.context, PlaceOf(model), model.state.empty() ? "" : ", " + model.state);
    list.push_back({{"name", model.name},
                    {"state", model.state},
                    {"context", model.context},
                    {"bytes", model.bytes},
                    {"architecture", model.architecture},
                    {"where", PlaceOf(model)}});
  }
  if (models.empty()) text = "There is no model: put a GGUF file into a model folder of a device.";
  return ToolResult(std::move(text), {{"models", std::move(list)}});
}

Json DevicesResult(const node::ClusterView& cluster) {
  std::string text;
  std::map<NodeId, std::string> names;
  Json devices = Json::array(), running = Json::array();
  for (const node::NodeView& node : cluster.nodes) {
    names[node.record.id] = node.record.name;
    const wire::DeviceRecord total = wire::TotalOf(node.record);
    text += fmt::format("{} ({}): {} of {} free for models{}\n", node.record.name, node.state,
                        FormatSize(FreeBytes(total)), FormatSize(total.memory_budget),
                        node.health.empty() ? "" : "; " + node.health);
    devices.push_back(DeviceJson(node));
  }
  for (const node::InstanceView& instance : cluster.instances) {
    const wire::Plan& plan = instance.summary.plan;
    Json places = Json::array();
    std::string where;
    for (const wire::StagePlan& stage : plan.stages) {
      const auto name = names.find(stage.node);
      places.push_back(name == names.end() ? stage.node.Short() : name->second);
      where += (where.empty() ? "" : ", ") + places.back().get_ref<const std::string&>();
    }
    text += fmt::format("{} is {} on {}\n", plan.model_name, instance.state, where);
    running.push_back({{"model", plan.model_name},
                       {"state", instance.state},
                       {"context", plan.context},
                       {"devices", std::move(places)}});
  }
  if (cluster.instances.empty()) text += "No model is loaded.\n";
  return ToolResult(std::move(text),
                    {{"devices", std::move(devices)}, {"running", std::move(running)}});
}

Json PlanResult(const node::PlanView& view) {
  const wire::Plan& plan = view.plan;
  std::string where;
  Json stages = Json::array();
  for (size_t i = 0; i < plan.stages.size(); ++i) {
    const wire::StagePlan& stage = plan.stages[i];
    const std::string name = i < view.node_names.size() ? view.node_names[i] : stage.node.Short();
    where +=
        fmt::format("{}{} ({}{}, {})", i == 0 ? "" : ", ", name,
                    wire::LayersText(stage.layer_begin, stage.layer_end),
                    stage.streamed > 0 ? fmt::format(", {} of them from disk", stage.streamed) : "",
                    FormatSize(stage.bytes));
    stages.push_back({{"device", name},
                      {"layer_begin", stage.layer_begin},
                      {"layer_end", stage.layer_end},
                      {"bytes", stage.bytes}});
  }
  std::string text = fmt::format(
      "{} would run on {}: {}.\nPredicted: {:.1f} tokens/s, prompts at {:.0f} tokens/s; context "
      "{} tokens. Nothing was loaded.",
      plan.model_name, where, view.reason, view.expected.decode_tokens_per_second,
      view.expected.prefill_tokens_per_second, plan.context);
  return ToolResult(std::move(text),
                    {{"model", plan.model_name},
                     {"reason", view.reason},
                     {"context", plan.context},
                     {"stages", std::move(stages)},
                     {"predicted_tokens_per_second", view.expected.decode_tokens_per_second},
                     {"predicted_prompt_per_second", view.expected.prefill_tokens_per_second}});
}

}  // namespace exo::service::mcp
