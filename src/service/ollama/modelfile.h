// Ollama's Modelfile: a model as lines of text.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "node/api.h"
#include "service/errors.h"
#include "service/json.h"

namespace exo::service::ollama {

// What is unset was not said.
struct Modelfile {
  std::string from;
  Json parameters = Json::object();
  std::optional<std::string> system, chat_template, license;
  std::vector<std::string> adapters;
  std::vector<node::PresetMessage> messages;
};

// FROM, PARAMETER, SYSTEM, TEMPLATE, ADAPTER, MESSAGE and LICENSE, in any case, one an entry; '#'
// begins a comment line; """ stands around a text of several lines.
// Errors: 400 with the number of the line.
Parsed<Modelfile> ParseModelfile(std::string_view text);

// The other way round: what `preset` would be created from.
std::string WriteModelfile(const node::Preset& preset);
// Its parameters alone, "name value" a line.
std::string ParameterLines(const node::Preset& preset);

// A parameter of a Modelfile, whose values are texts: numbers, truth values, or texts as they are.
Json ParameterValue(const std::string& text);

}  // namespace exo::service::ollama
