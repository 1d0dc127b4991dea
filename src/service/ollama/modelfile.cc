#include "service/ollama/modelfile.h"

#include <algorithm>

#include "service/http/ascii.h"

namespace exo::service::ollama {
namespace {

constexpr std::string_view kQuotes = "\"\"\"";
// The first word, which is taken from the front of `rest`.
std::string_view TakeWord(std::string_view& rest) {
  rest = Trimmed(rest);
  const size_t end = std::min(rest.find_first_of(" \t"), rest.size());
  const std::string_view word = rest.substr(0, end);
  rest = Trimmed(rest.substr(end));
  return word;
}

class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(text) {}

  Parsed<Modelfile> Read() {
    while (!rest_.empty()) {
      std::string_view line = Trimmed(TakeLine());
      if (line.empty() || line.front() == '#') continue;
      const size_t number = line_;
      const std::string command = Lower(TakeWord(line));
      if (const auto done = Take(command, line); !done)
        return BadValue("modelfile",
                        fmt::format("'modelfile', line {}: {}", number, done.error().message));
    }
    return std::move(file_);
  }

 private:
  std::string_view TakeLine() {
    ++line_;
    const size_t end = rest_.find('\n');
    const std::string_view line = rest_.substr(0, end);
    rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
    return line;
  }

  // What an instruction says: the rest of its line without quotes around it, or all up to """.
  Parsed<std::string> TakeText(std::string_view line) {
    if (!line.starts_with(kQuotes)) {
      const bool quoted = line.size() >= 2 && line.front() == '"' && line.back() == '"';
      return std::string(quoted ? line.substr(1, line.size() - 2) : line);
    }
    line.remove_prefix(kQuotes.size());
    std::string text;
    for (;;) {
      const size_t end = line.find(kQuotes);
      text += line.substr(0, end);
      if (end != std::string_view::npos) return text;
      if (rest_.empty()) return BadValue("modelfile", "a text in \"\"\" has no end");
      text += '\n';
      line = TakeLine();
    }
  }

  Parsed<> Take(const std::string& command, std::string_view line) {
    if (command == "parameter") return TakeParameter(line);
    if (command == "message") return TakeMessage(line);
    std::string text = TRY(TakeText(line));
    if (command == "from") {
      file_.from = std::move(text);
    } else if (command == "system") {
      file_.system = std::move(text);
    } else if (command == "template") {
      file_.chat_template = std::move(text);
    } else if (command == "license") {
      file_.license = file_.license ? *file_.license + "\n" + text : std::move(text);
    } else if (command == "adapter") {
      file_.adapters.push_back(std::move(text));
    } else {
      return BadValue("modelfile", fmt::format("'{}' is no instruction; there are FROM, PARAMETER, "
                                               "SYSTEM, TEMPLATE, ADAPTER, MESSAGE and LICENSE",
                                               command.substr(0, 64)));
    }
    return {};
  }

  // Stop texts may come one by one.
  Parsed<> TakeParameter(std::string_view line) {
    const std::string name = Lower(TakeWord(line));
    const std::string value = TRY(TakeText(line));
    if (name.empty() || line.empty())
      return BadValue("modelfile", "PARAMETER needs a name and a value");
    if (name == "stop") {
      file_.parameters["stop"].push_back(value);
    } else {
      file_.parameters[name] = ParameterValue(value);
    }
    return {};
  }

  Parsed<> TakeMessage(std::string_view line) {
    const std::string role = Lower(TakeWord(line));
    file_.messages.push_back({.role = role, .content = TRY(TakeText(line))});
    return {};
  }

  std::string_view rest_;
  size_t line_ = 0;
  Modelfile file_;
};

std::string Quoted(const std::string& text) {
  return fmt::format("{}{}{}", kQuotes, text, kQuotes);
}

std::string ValueText(const Json& value) {
  if (!value.is_string()) return Dump(value);
  const auto& text = value.get_ref<const std::string&>();
  return text.find_first_of("\"\n") == std::string::npos ? '"' + text + '"' : Quoted(text);
}

}  // namespace

Json ParameterValue(const std::string& text) {
  const auto value = ParseJson(text);
  return value && value->is_primitive() && !value->is_null() ? *value : Json(text);
}

Parsed<Modelfile> ParseModelfile(std::string_view text) {
  return Reader(text).Read();
}

std::string ParameterLines(const node::Preset& preset) {
  std::string lines;
  const Json parameters = ParseJson(preset.parameters).value_or(Json::object());
  for (const auto& [name, value] : parameters.items()) {
    for (const Json& one : value.is_array() ? value : Json::array({value}))
      lines += fmt::format("{:<30} {}\n", name, ValueText(one));
  }
  if (!lines.empty()) lines.pop_back();
  return lines;
}

std::string WriteModelfile(const node::Preset& preset) {
  std::string text = fmt::format("FROM {}\n", preset.base);
  if (!preset.chat_template.empty())
    text += fmt::format("TEMPLATE {}\n", Quoted(preset.chat_template));
  if (!preset.system.empty()) text += fmt::format("SYSTEM {}\n", Quoted(preset.system));
  const Json parameters = ParseJson(preset.parameters).value_or(Json::object());
  for (const auto& [name, value] : parameters.items()) {
    for (const Json& one : value.is_array() ? value : Json::array({value}))
      text += fmt::format("PARAMETER {} {}\n", name, ValueText(one));
  }
  for (const node::AdapterChoice& one : preset.adapters)
    text += fmt::format("ADAPTER {}\n", one.file);
  for (const node::PresetMessage& one : preset.messages)
    text += fmt::format("MESSAGE {} {}\n", one.role, Quoted(one.content));
  if (!preset.license.empty()) text += fmt::format("LICENSE {}\n", Quoted(preset.license));
  return text;
}

}  // namespace exo::service::ollama
