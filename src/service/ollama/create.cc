#include "service/ollama/create.h"

#include <algorithm>
#include <array>
#include <chrono>

#include "model/chat_template.h"
#include "service/fields.h"
#include "service/http/limits.h"
#include "service/ollama/encode.h"
#include "service/ollama/modelfile.h"
#include "service/ollama/parse.h"
#include "service/presets.h"
#include "service/request_fields.h"
#include "service/waiting.h"

namespace exo::service::ollama {
namespace {

struct CreateCall {
  std::string name;
  Modelfile file;
  bool stream = true;
};

int64_t SecondsNow() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(now).count();
}

Parsed<> ReadLicense(const Json& body, Modelfile& file) {
  const Json* license = Find(body, "license");
  if (license == nullptr) return {};
  const Json list = license->is_array() ? *license : Json::array({*license});
  std::string all;
  for (const Json& one : list) {
    if (!one.is_string()) return BadValue("license", "'license' must be a text or a list of texts");
    all += (all.empty() ? "" : "\n") + one.get<std::string>();
  }
  file.license = std::move(all);
  return {};
}

Parsed<std::string> ReadMessageText(const Json& message) {
  if (Find(message, "content") == nullptr)
    return BadValue("messages", "a message has no 'content'");
  return ReadText(message, "content");
}

Parsed<> ReadMessages(const Json& body, Modelfile& file) {
  const Json* list = Find(body, "messages");
  if (list == nullptr) return {};
  if (!list->is_array() || list->size() > kMaxMessages)
    return BadValue("messages", "'messages' must be a list of messages");
  file.messages.clear();
  for (const Json& one : *list) {
    if (!one.is_object()) return BadValue("messages", "a message must be an object");
    file.messages.push_back({.role = TRY(ReadRequiredString(one, "role", kMaxStopBytes)),
                             .content = TRY(ReadMessageText(one))});
  }
  return {};
}

// Ollama's form, an object of files and their digests, means files that a client has sent.
Parsed<> ReadAdapters(const Json& body, Modelfile& file) {
  const Json* list = Find(body, "adapters");
  if (list == nullptr || (list->is_structured() && list->empty())) return {};
  if (list->is_object()) {
    return NotSupported("adapters",
                        "'adapters' by digest are not supported, since files are not sent here: "
                        "put the file into a model folder and send its name, as [\"NAME\"]");
  }
  if (!list->is_array()) return BadValue("adapters", "'adapters' must be a list of names");
  file.adapters.clear();
  for (const Json& one : *list) {
    if (!one.is_string()) return BadValue("adapters", "'adapters' must be a list of names");
    file.adapters.push_back(one.get<std::string>());
  }
  return {};
}

// What Go writes between its braces, and Jinja never: a field, a variable, or a keyword.
bool IsGoTemplate(std::string_view text) {
  constexpr std::array<std::string_view, 9> kGo = {".",    "$",     "if ",     "range ",   "end",
                                                   "else", "with ", "define ", "template "};
  for (size_t at = text.find("{{"); at != std::string_view::npos; at = text.find("{{", at + 2)) {
    std::string_view inside = text.substr(at + 2);
    if (inside.starts_with('-')) inside.remove_prefix(1);
    inside.remove_prefix(std::min(inside.find_first_not_of(" \n\t"), inside.size()));
    if (std::ranges::any_of(kGo, [&](std::string_view word) { return inside.starts_with(word); }))
      return true;
  }
  return false;
}

Parsed<> CheckTemplate(const std::string& text) {
  if (text.empty()) return {};
  if (IsGoTemplate(text)) {
    return NotSupported("template",
                        "'template' is a Go template; here templates are Jinja's, as in GGUF "
                        "files: leave it out to have the model's own, or send a Jinja one");
  }
  if (const auto parsed = model::ChatTemplate::Parse(text); !parsed)
    return BadValue("template", fmt::format("'template': {}", parsed.error().message));
  return {};
}

Parsed<> Check(const Modelfile& file) {
  for (const auto& [name, value] : file.parameters.items()) {
    if (!IsParameter(name)) {
      return BadValue("parameters", fmt::format("'parameters' has '{}', which is no parameter",
                                                name.substr(0, 64)));
    }
  }
  node::GenerateRequest scratch;
  TRY(ReadParameters(file.parameters, scratch));
  TRY(CheckTemplate(file.chat_template.value_or("")));
  for (const node::PresetMessage& one : file.messages) {
    if (one.role == "system" || one.role == "user" || one.role == "assistant") continue;
    return BadValue("messages", fmt::format("a message has the role '{}'; use system, user or "
                                            "assistant",
                                            one.role.substr(0, 64)));
  }
  for (const std::string& adapter : file.adapters) {
    if (!adapter.empty() && adapter.find('/') == std::string::npos) continue;
    return BadValue("adapters", fmt::format("'{}' is no name of an adapter: put its file into a "
                                            "model folder and give its name, without a path",
                                            adapter.substr(0, 128)));
  }
  return {};
}

// Of a file in a model folder: its name there, or as the node names it.
std::string NameOfFile(std::string name) {
  constexpr std::string_view kSuffix = ".gguf";
  if (name.size() > kSuffix.size() && name.ends_with(kSuffix))
    name.resize(name.size() - kSuffix.size());
  return name;
}

Parsed<> RefuseUnsupported(const Json& body) {
  const auto is_given = [&](const char* name) {
    const Json* value = Find(body, name);
    return value != nullptr && *value != "" && !(value->is_structured() && value->empty());
  };
  if (is_given("quantize") || is_given("quantization"))
    return NotSupported("quantize",
                        "'quantize' is not supported here; exo quantize writes a file "
                        "with smaller weights");
  if (is_given("files"))
    return NotSupported("files",
                        "'files' are not supported, since files are not sent here: put "
                        "them into a model folder and name the model in 'from'");
  if (is_given("path"))
    return NotSupported("path",
                        "'path' is not supported: send the text of the file as 'modelfile'");
  return {};
}

Parsed<CreateCall> ParseCreate(std::string_view text) {
  const Json body = TRY(ParseBody(text));
  CreateCall call{.name = TRY(ReadName(body))};
  call.stream = TRY(ReadBool(body, "stream")).value_or(true);
  TRY(RefuseUnsupported(body));
  Modelfile& file = call.file;
  file = TRY(ParseModelfile(TRY(ReadText(body, "modelfile"))));
  if (Find(body, "from") != nullptr)
    file.from = TRY(ReadRequiredString(body, "from", kMaxModelName));
  if (file.from.empty()) {
    return std::unexpected(
        ApiError{400, "'from' is missing: the name of the model that this one is made from", "from",
                 "missing_required_parameter"});
  }
  file.from = WithoutTag(file.from);
  if (const Json* parameters = Find(body, "parameters"); parameters != nullptr) {
    if (!parameters->is_object())
      return BadValue("parameters",
                      fmt::format("'parameters' is {}, but must be an object", Shown(*parameters)));
    file.parameters.update(*parameters);
  }
  if (Find(body, "system") != nullptr) file.system = TRY(ReadText(body, "system"));
  if (Find(body, "template") != nullptr) file.chat_template = TRY(ReadText(body, "template"));
  TRY(ReadLicense(body, file));
  TRY(ReadMessages(body, file));
  TRY(ReadAdapters(body, file));
  for (std::string& adapter : file.adapters) adapter = NameOfFile(std::move(adapter));
  TRY(Check(file));
  return call;
}

// What a preset of the same base says stays, where the new one says nothing.
node::Preset PresetOf(const node::Api& api, const CreateCall& call) {
  const auto before = api.FindPreset(call.file.from);
  node::Preset preset = before != nullptr ? *before : node::Preset{.base = call.file.from};
  preset.name = call.name;
  preset.created = SecondsNow();
  const Modelfile& file = call.file;
  if (file.system) preset.system = *file.system;
  if (file.chat_template) preset.chat_template = *file.chat_template;
  if (file.license) preset.license = *file.license;
  if (!file.messages.empty()) preset.messages = file.messages;
  if (!file.adapters.empty()) {
    preset.adapters.clear();
    for (const std::string& name : file.adapters) preset.adapters.push_back({.file = name});
  }
  if (!file.parameters.empty()) {
    Json parameters = ParseJson(preset.parameters).value_or(Json::object());
    parameters.update(file.parameters);
    preset.parameters = Dump(parameters);
  }
  return preset;
}

HttpResponse Created(bool stream) {
  if (!stream) return {.body = R"({"status":"success"})"};
  std::string lines;
  for (const char* status : {"using existing layers", "writing manifest", "success"})
    lines += Dump(Json{{"status", status}}) + "\n";
  return {.body = lines, .content_type = "application/x-ndjson"};
}

// Adapters that do not fit are found out by a plan, which may fail for want of room as well.
void Save(node::Api& api, const node::Preset& preset, std::function<void(Result<void>)> done) {
  if (preset.adapters.empty()) return api.SavePreset(preset, std::move(done));
  api.MakePlan(preset.base, {.adapters = preset.adapters},
               [&api, preset, done = std::move(done)](const Result<node::PlanView>& plan) {
                 if (!plan && plan.error().code != ErrorCode::kOverloaded)
                   return done(std::unexpected(plan.error()));
                 api.SavePreset(preset, done);
               });
}

}  // namespace

Parsed<Action> ReadCreate(node::Api& api, const HttpRequest& request) {
  CreateCall call = TRY(ParseCreate(request.body));
  return AskNode(&Failed, [&api, call = std::move(call)](Waiting& waiting) {
    Save(api, PresetOf(api, call), waiting.Done(Created(call.stream)));
  });
}

Parsed<Action> ReadCopy(node::Api& api, const HttpRequest& request) {
  const Json body = TRY(ParseBody(request.body));
  CreateCall call{.name = TRY(ReadModelName(body, "destination"))};
  call.file.from = TRY(ReadModelName(body, "source"));
  return AskNode(&Failed, [&api, call = std::move(call)](Waiting& waiting) {
    api.SavePreset(PresetOf(api, call), waiting.Done({.body = ""}));
  });
}

}  // namespace exo::service::ollama
