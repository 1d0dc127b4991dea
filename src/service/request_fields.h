// Fields that every dialect has, under its own names, and what JSON becomes for a template.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/cache.h"
#include "service/errors.h"
#include "service/json.h"

namespace exo::service {

// A JSON object, or 400.
Parsed<Json> ParseBody(std::string_view text);

// A field of an object where anything but a string is as good as none: then empty.
std::string StringField(const Json& object, const char* name);

// A text that may be absent: then empty. Errors: 400 for anything else.
Parsed<std::string> ReadText(const Json& body, const char* name);

// "tiny" of "tiny:latest": Ollama's tag, which names no other model here.
std::string WithoutTag(std::string name);
// The name of a model, in any dialect, without the tag. Errors: 400; the field must be there.
Parsed<std::string> ReadModelName(const Json& body, const char* field);
// "model" where it may be absent or empty: then empty, for the route to choose.
Parsed<std::string> ReadOptionalModelName(const Json& body);

// Texts that end an answer: a string or a list of strings.
Parsed<> ReadStops(const Json& body, const char* name, std::vector<std::string>& out);

// "seed": the whole 64-bit range, signed or not; null: one is drawn.
Parsed<> ReadSeed(const Json& body, node::GenerateRequest& request);

// A number of tokens. What is beyond any context means what the context leaves, and so does -1,
// which llama-server's clients send. Unset: the field is absent.
struct TokenLimit {
  std::optional<uint32_t> tokens;  // unset: no limit
};
Parsed<std::optional<TokenLimit>> ReadTokenLimit(const Json& body, const char* name);

// How rows travel between devices, by the name of a codec; unset: not said. Errors: 400.
Parsed<std::optional<wire::Codec>> ReadCodec(const Json& body);
// How a model is divided: "split", or "spread", which is true for "layer". Errors: 400.
Parsed<wire::Split> ReadSplit(const Json& body);
// What a placement should be good at: "for". Errors: 400.
Parsed<wire::Use> ReadUse(const Json& body);

model::Data ToData(const Json& json);
// Of an object; empty for anything else.
model::DataMap ToMap(const Json& json);
Json FromData(const model::Data& data);

// A member or an item of data; nothing where there is none.
const model::Data& At(const model::Data& data, std::string_view key);
const model::Data& At(const model::Data& data, size_t index);

// Where a tool stands in a request, and how it is written there.
struct ToolPlace {
  const char* schema = "parameters";  // the field with the schema of its arguments
  const model::Data& written;         // the object as it was written
  std::string param;                  // names the object in errors
  std::string name_space = {};        // that has it; empty: none has
};
// Adds a tool as templates see it, from the object with its name, description and schema. Errors:
// 400 that names place and field, also where it is `strict` and its schema cannot be kept.
Parsed<> AddTool(const Json& function, const ToolPlace& place, grammar::Cache& grammars,
                 node::ChatOptions& chat);
// What the model gets as the name of a tool of a namespace; empty: of none.
std::string FullToolName(const std::string& name_space, const std::string& name);

// Sets a name that the template may read.
void SetVariable(node::ChatOptions& chat, std::string name, const Json& value);

}  // namespace exo::service
