#include "app/launch_command.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <sstream>
#include <utility>

#include "app/client_commands.h"
#include "app/model_views.h"
#include "app/output.h"
#include "app/toml_merge.h"
#include "base/text.h"
#include "sys/files.h"
#include "sys/process.h"
#include "sys/system.h"

namespace exo::app {
namespace {

using nlohmann::json;

// On this machine no key is needed; the programs insist on one.
constexpr const char* kAnyKey = "exo";
// An agent's own instructions and tools take 10,000 to 30,000 tokens.
constexpr uint32_t kAgentContext = 32'768;
constexpr size_t kMaxSettingsFile = 4u << 20;

std::string BaseUrl(uint16_t port) {
  return fmt::format("http://localhost:{}", port);
}

std::string ContextNote(const LaunchModel& model) {
  if (model.context == 0 || model.context >= kAgentContext) return "";
  return fmt::format(
      "{} has a context of {} tokens; the instructions of an agent alone may take as many, 64k are "
      "better",
      model.name, model.context);
}

json Object(const std::vector<std::pair<std::string, std::string>>& variables) {
  json object = json::object();
  for (const auto& [name, value] : variables) object[name] = value;
  return object;
}

LaunchPlan PlanClaude(const LaunchModel& model, uint16_t port) {
  LaunchPlan plan{.program = "claude", .file = ".claude/settings.json"};
  plan.variables = {{"ANTHROPIC_BASE_URL", BaseUrl(port)}, {"ANTHROPIC_AUTH_TOKEN", kAnyKey}};
  for (const char* name :
       {"ANTHROPIC_MODEL", "ANTHROPIC_DEFAULT_OPUS_MODEL", "ANTHROPIC_DEFAULT_SONNET_MODEL",
        "ANTHROPIC_DEFAULT_HAIKU_MODEL", "CLAUDE_CODE_SUBAGENT_MODEL"})
    plan.variables.emplace_back(name, model.name);
  // A line with a number that changes in each request, which no prefix cache survives.
  plan.variables.emplace_back("CLAUDE_CODE_ATTRIBUTION_HEADER", "0");
  // It takes an unknown model for one of 200,000 tokens, and would summarize too late.
  if (model.context > 0) {
    plan.variables.emplace_back("CLAUDE_CODE_AUTO_COMPACT_WINDOW",
                                std::to_string(model.context - model.context / 10));
  }
  plan.settings = {{"env", Object(plan.variables)}};
  return plan;
}

LaunchPlan PlanCodex(const LaunchModel& model, uint16_t port) {
  LaunchPlan plan{.program = "codex", .file = ".codex/config.toml"};
  const std::string url = BaseUrl(port) + "/v1";
  plan.settings = {{"model", model.name},
                   {"model_provider", "exo"},
                   {"model_providers",
                    {{"exo", {{"name", "exo"}, {"base_url", url}, {"wire_api", "responses"}}}}}};
  if (model.context > 0) plan.settings["model_context_window"] = model.context;
  for (const auto& [name, value] : plan.settings.items()) {
    if (value.is_object()) continue;
    plan.arguments.insert(plan.arguments.end(), {"-c", fmt::format("{}={}", name, value.dump())});
  }
  plan.arguments.insert(plan.arguments.end(),
                        {"-c", fmt::format("model_providers.exo={{name=\"exo\", base_url=\"{}\", "
                                           "wire_api=\"responses\"}}",
                                           url)});
  return plan;
}

LaunchPlan PlanOpencode(const LaunchModel& model, uint16_t port) {
  LaunchPlan plan{.program = "opencode", .file = ".config/opencode/opencode.json"};
  json known = json::object();
  if (model.context > 0)
    known["limit"] = {{"context", model.context}, {"output", model.context / 4}};
  plan.settings = {{"$schema", "https://opencode.ai/config.json"},
                   {"model", "exo/" + model.name},
                   {"provider",
                    {{"exo",
                      {{"npm", "@ai-sdk/openai-compatible"},
                       {"name", "exo"},
                       {"options", {{"baseURL", BaseUrl(port) + "/v1"}, {"apiKey", kAnyKey}}},
                       {"models", {{model.name, known}}}}}}}};
  plan.variables = {{"OPENCODE_CONFIG_CONTENT", ToText(plan.settings)}};
  return plan;
}

LaunchPlan PlanAider(const LaunchModel& model, uint16_t port) {
  return {.program = "aider",
          .arguments = {"--model", "openai/" + model.name},
          .variables = {{"OPENAI_API_BASE", BaseUrl(port) + "/v1"}, {"OPENAI_API_KEY", kAnyKey}}};
}

LaunchPlan PlanQwen(const LaunchModel& model, uint16_t port) {
  return {.program = "qwen",
          .variables = {{"OPENAI_BASE_URL", BaseUrl(port) + "/v1"},
                        {"OPENAI_API_KEY", kAnyKey},
                        {"OPENAI_MODEL", model.name}}};
}

struct Tool {
  const char* name;
  const char* install;
  LaunchPlan (*plan)(const LaunchModel& model, uint16_t port);
};
constexpr Tool kTools[] = {{"claude", "npm install -g @anthropic-ai/claude-code", &PlanClaude},
                           {"codex", "npm install -g @openai/codex", &PlanCodex},
                           {"opencode", "npm install -g opencode-ai", &PlanOpencode},
                           {"aider", "pipx install aider-chat", &PlanAider},
                           {"qwen", "npm install -g @qwen-code/qwen-code", &PlanQwen}};

// The model that is meant where none is named: what runs goes first.
Result<std::string> DefaultModel(const HttpClient& api) {
  const json cluster = TRY(api.Get("/v1/cluster"));
  for (const json& instance : cluster.value("instances", json::array())) {
    if (instance.value("state", "") == "ready") return instance.value("model", "");
  }
  const json models = TRY(api.Get("/v1/models"));
  std::vector<std::string> names;
  for (const json& one : models.value("data", json::array())) {
    // A further name of a model is no further model.
    if (one.value("exo", json::object()).value("base", json()).is_null())
      names.push_back(one.value("id", ""));
  }
  if (names.size() == 1) return names[0];
  if (names.empty())
    return Fail(ErrorCode::kNotFound, "there is no model yet; bring one here with: exo pull NAME");
  return Fail(ErrorCode::kInvalid, "several models are here: choose one with --model: {}",
              fmt::join(names, ", "));
}

Result<LaunchModel> FindLaunchModel(const HttpClient& api, const std::string& named) {
  LaunchModel model{.name = named.empty() ? TRY(DefaultModel(api)) : named};
  const json known = TRY(GetModel(api, model.name));
  model.context = known.value("context_length", 0u);
  const json cluster = TRY(api.Get("/v1/cluster"));
  for (const json& instance : cluster.value("instances", json::array())) {
    if (instance.value("model", "") == model.name && instance.value("context", 0u) > 0)
      model.context = instance.value("context", 0u);
  }
  return model;
}

// As a shell reads it again.
std::string ForShell(const std::string& text) {
  const bool plain = !text.empty() && std::ranges::all_of(text, [](unsigned char c) {
    return std::isalnum(c) != 0 ||
           std::string_view("_-./:=,@+").find(static_cast<char>(c)) != std::string_view::npos;
  });
  if (plain) return text;
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

void PrintPlan(const LaunchPlan& plan, const std::vector<std::string>& words, bool as_json) {
  if (as_json) {
    return PrintJson(
        {{"program", plan.program}, {"arguments", words}, {"variables", Object(plan.variables)}});
  }
  Write(LaunchText(plan, words));
}

std::string BackupOf(const std::string& path) {
  return path + ".before-exo";
}

// An empty backup stands for a file that was not there.
Result<void> WriteConfig(const LaunchPlan& plan, bool as_json) {
  const std::string path = sys::HomeFolder() + "/" + plan.file;
  const bool existed = sys::Exists(path);
  const std::string old = existed ? TRY(sys::ReadPlainFile(path, kMaxSettingsFile)) : "";
  const std::string merged = TRY(MergeSettings(path, old, plan.settings));
  TRY(sys::MakeFolders(path.substr(0, path.rfind('/'))));
  // The first backup is the one without exo in it.
  if (!sys::Exists(BackupOf(path))) TRY(sys::WriteFileAtomically(BackupOf(path), old, 0600));
  TRY(sys::WriteFileAtomically(path, merged, 0600));
  if (as_json) {
    PrintJson({{"file", path}, {"backup", BackupOf(path)}});
    return {};
  }
  Print("{} asks exo from now on; as it was: {}\nto take it back: exo launch {} --restore\n",
        Printable(path), Printable(BackupOf(path)), plan.program);
  return {};
}

Result<void> RestoreConfig(const LaunchPlan& plan, bool as_json) {
  const std::string path = sys::HomeFolder() + "/" + plan.file;
  if (!sys::Exists(BackupOf(path))) {
    return Fail(ErrorCode::kNotFound, "there is no {}: exo has not changed {}", BackupOf(path),
                path);
  }
  const std::string old = TRY(sys::ReadPlainFile(BackupOf(path), kMaxSettingsFile));
  if (old.empty()) {
    TRY(sys::RemoveFile(path));
  } else {
    TRY(sys::WriteFileAtomically(path, old, 0600));
  }
  TRY(sys::RemoveFile(BackupOf(path)));
  if (as_json) {
    PrintJson({{"file", path}});
    return {};
  }
  Print("{} is as it was before exo\n", Printable(path));
  return {};
}

Result<void> StartTool(const LaunchPlan& plan, const std::vector<std::string>& words) {
  std::vector<std::string> command = {plan.program};
  command.insert(command.end(), words.begin(), words.end());
  TRY(FlushOutput());
  const auto started = sys::BecomeProgram(command, plan.variables);
  if (started.error().code != ErrorCode::kNotFound) return started;
  return Fail(ErrorCode::kNotFound, "there is no program {} on $PATH; this installs it: {}",
              plan.program, plan.install);
}

}  // namespace

std::string LaunchText(const LaunchPlan& plan, const std::vector<std::string>& words) {
  std::string text;
  for (const auto& [name, value] : plan.variables) text += name + "=" + ForShell(value) + " \\\n  ";
  text += plan.program;
  for (const std::string& word : words) text += " " + ForShell(word);
  return text + "\n";
}

Result<LaunchPlan> PlanLaunch(const std::string& tool, const LaunchModel& model, uint16_t port) {
  std::vector<std::string> names;
  for (const Tool& one : kTools) {
    names.emplace_back(one.name);
    if (tool != one.name) continue;
    LaunchPlan plan = one.plan(model, port);
    plan.install = one.install;
    plan.note = ContextNote(model);
    return plan;
  }
  const std::string near = Nearest(tool, names);
  return Fail(ErrorCode::kInvalid, "exo does not know how {} is told where to ask{}; it knows {}",
              tool, near.empty() ? "" : fmt::format("; did you mean {}?", near),
              fmt::join(names, ", "));
}

Result<std::string> MergeSettings(const std::string& file, const std::string& text,
                                  const json& added) {
  if (file.ends_with(".json")) {
    auto merged = nlohmann::ordered_json::parse(text.empty() ? "{}" : text, nullptr, false);
    if (!merged.is_object()) {
      return Fail(ErrorCode::kCorrupt,
                  "{} is not a JSON object (comments are none of JSON); exo leaves it as it is",
                  file);
    }
    merged.merge_patch(added);
    return merged.dump(2) + "\n";
  }
  return MergeToml(file, text, added);
}

Result<void> RunLaunch(const Settings& settings, const LaunchOptions& options) {
  // A mistyped name is told without a node.
  const LaunchPlan known = TRY(PlanLaunch(options.tool, {.name = options.model}, 0));
  if ((options.config || options.restore) && known.file.empty()) {
    return Fail(ErrorCode::kInvalid,
                "{} keeps no settings that exo can write: start it with exo launch, or set what "
                "--print prints",
                options.tool);
  }
  if (options.json && !options.print && !options.config && !options.restore) {
    return Fail(
        ErrorCode::kInvalid,
        "--json goes with --print, --config or --restore: once {} is started, what comes is "
        "its own",
        options.tool);
  }
  if (options.restore) return RestoreConfig(known, options.json);
  const HttpClient api = TRY(OwnNode(settings));
  const LaunchModel model = TRY(FindLaunchModel(api, options.model));
  const LaunchPlan plan = TRY(PlanLaunch(options.tool, model, api.port()));
  if (!plan.note.empty()) Note("exo: {}\n", Printable(plan.note));
  if (options.config) return WriteConfig(plan, options.json);
  std::vector<std::string> words = plan.arguments;
  words.insert(words.end(), options.arguments.begin(), options.arguments.end());
  if (!options.print) return StartTool(plan, words);
  PrintPlan(plan, words, options.json);
  return {};
}

}  // namespace exo::app
