#include "service/mcp/tools.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "service/fields.h"

namespace exo::service::mcp {
namespace {

constexpr std::string_view kChat = R"({
  "name": "chat",
  "title": "Ask a local model",
  "description":
    "Asks a language model that runs on the devices of this home. Nothing leaves the home.",
  "inputSchema": {
    "type": "object",
    "properties": {
      "model": {
        "type": "string",
        "description": "A name from the tool 'models'. Default: the model that runs."
      },
      "prompt": {"type": "string", "description": "The question. Give this or 'messages'."},
      "messages": {
        "type": "array",
        "minItems": 1,
        "description": "A whole conversation; the last message is answered.",
        "items": {
          "type": "object",
          "properties": {
            "role": {"type": "string", "enum": ["system", "user", "assistant"]},
            "content": {"type": "string"}
          },
          "required": ["role", "content"]
        }
      },
      "system": {
        "type": "string",
        "description": "Instructions that come before the conversation."
      },
      "max_tokens": {
        "type": "integer", "minimum": 1, "default": 4096,
        "description": "The answer is cut after so many tokens."
      },
      "temperature": {
        "type": "number", "minimum": 0, "maximum": 2, "default": 1,
        "description": "0: always the likeliest token."
      },
      "seed": {
        "type": "integer",
        "description": "The same seed and question give the same answer."
      },
      "schema": {
        "type": "object",
        "description": "A JSON schema: the answer is JSON that satisfies it."
      }
    },
    "additionalProperties": false
  },
  "outputSchema": {
    "type": "object",
    "properties": {
      "text": {"type": "string"},
      "reasoning": {"type": "string", "description": "What the model thought before it answered."},
      "model": {"type": "string"},
      "finish_reason": {
        "type": "string", "enum": ["stop", "length"],
        "description": "length: the answer was cut."
      },
      "prompt_tokens": {"type": "integer"},
      "completion_tokens": {"type": "integer"},
      "tokens_per_second": {"type": "number"},
      "seed": {"type": "integer"},
      "devices": {
        "type": "array", "items": {"type": "string"},
        "description": "Those that computed it."
      }
    },
    "required": ["text", "model", "finish_reason", "prompt_tokens", "completion_tokens"]
  },
  "annotations": {"title": "Ask a local model", "readOnlyHint": true, "openWorldHint": false}
})";

constexpr std::string_view kModels = R"({
  "name": "models",
  "title": "List models",
  "description":
    "Lists the language models that can be asked, here or on another device of this home.",
  "inputSchema": {"type": "object", "additionalProperties": false},
  "outputSchema": {
    "type": "object",
    "properties": {
      "models": {
        "type": "array",
        "items": {
          "type": "object",
          "properties": {
            "name": {"type": "string"},
            "state": {
              "type": "string", "enum": ["", "loading", "ready"],
              "description": "Empty: it is loaded when it is asked."
            },
            "context": {"type": "integer", "description": "Tokens it was trained for."},
            "bytes": {"type": "integer"},
            "architecture": {"type": "string"},
            "where": {"type": "string", "enum": ["here", "another device", "no file"]}
          },
          "required": ["name", "state", "context", "bytes", "where"]
        }
      }
    },
    "required": ["models"]
  },
  "annotations": {"title": "List models", "readOnlyHint": true, "openWorldHint": false}
})";

constexpr std::string_view kDevices = R"({
  "name": "devices",
  "title": "List devices",
  "description":
    "Lists the devices that compute together, with memory and speed, and what runs where.",
  "inputSchema": {"type": "object", "additionalProperties": false},
  "outputSchema": {
    "type": "object",
    "properties": {
      "devices": {
        "type": "array",
        "items": {
          "type": "object",
          "properties": {
            "name": {"type": "string"},
            "state": {
              "type": "string",
              "description": "self, alive, connecting, suspect, dead, left or refused"
            },
            "cores": {"type": "integer"},
            "memory_bytes": {"type": "integer"},
            "memory_for_models_bytes": {"type": "integer"},
            "memory_free_bytes": {"type": "integer", "description": "Of what is for models."},
            "decode_gbps": {
              "type": "number",
              "description": "Weights read per second; 0: not measured yet."
            },
            "prefill_gops": {"type": "number"},
            "rtt_ms": {"type": "number"}
          },
          "required": ["name", "state", "memory_free_bytes"]
        }
      },
      "running": {
        "type": "array",
        "items": {
          "type": "object",
          "properties": {
            "model": {"type": "string"},
            "state": {"type": "string"},
            "context": {"type": "integer"},
            "devices": {"type": "array", "items": {"type": "string"}}
          },
          "required": ["model", "state", "devices"]
        }
      }
    },
    "required": ["devices", "running"]
  },
  "annotations": {"title": "List devices", "readOnlyHint": true, "openWorldHint": false}
})";

constexpr std::string_view kPlan = R"({
  "name": "plan",
  "title": "Plan a model",
  "description":
    "Says on which devices a model would run and how fast it would be, without loading it.",
  "inputSchema": {
    "type": "object",
    "properties": {
      "model": {"type": "string", "description": "A name from the tool 'models'."},
      "context": {
        "type": "integer", "minimum": 0,
        "description": "Tokens of a prompt and its answer; 0: as trained, as far as memory allows."
      },
      "spread": {
        "type": "boolean", "default": false,
        "description": "Over all devices, even if one is enough: short for the split 'layer'."
      },
      "split": {
        "type": "string", "enum": ["auto", "layer", "tensor", "hybrid"], "default": "auto",
        "description": "Layers over all devices, each layer over all, over groups, or as is best."
      },
      "wire": {
        "type": "string", "enum": ["f32", "f16", "int8", "int4"], "default": "f32",
        "description": "How rows travel between devices; all but f32 change answers."
      }
    },
    "required": ["model"],
    "additionalProperties": false
  },
  "outputSchema": {
    "type": "object",
    "properties": {
      "model": {"type": "string"},
      "reason": {"type": "string"},
      "context": {"type": "integer"},
      "stages": {
        "type": "array",
        "items": {
          "type": "object",
          "properties": {
            "device": {"type": "string"},
            "layer_begin": {"type": "integer"},
            "layer_end": {"type": "integer", "description": "The first layer that is not its own."},
            "bytes": {"type": "integer"}
          },
          "required": ["device", "layer_begin", "layer_end", "bytes"]
        }
      },
      "predicted_tokens_per_second": {"type": "number"},
      "predicted_prompt_per_second": {"type": "number"}
    },
    "required": ["model", "reason", "context", "stages",
                 "predicted_tokens_per_second", "predicted_prompt_per_second"]
  },
  "annotations": {"title": "Plan a model", "readOnlyHint": true, "openWorldHint": false}
})";

Tool MakeTool(std::string_view text, Scope scope) {
  auto description = ParseJson(text);
  CHECK(description.has_value());
  std::string name = description->at("name").get<std::string>();
  return {std::move(name), scope, *std::move(description)};
}

}  // namespace

std::span<const Tool> Tools() {
  static const std::vector<Tool> tools = {
      MakeTool(kChat, Scope::kInfer), MakeTool(kModels, Scope::kInfer),
      MakeTool(kDevices, Scope::kModels), MakeTool(kPlan, Scope::kModels)};
  return tools;
}

const Tool* FindTool(std::string_view name) {
  const auto found = std::ranges::find(Tools(), name, &Tool::name);
  return found == Tools().end() ? nullptr : &*found;
}

Parsed<> CheckArguments(const Tool& tool, const Json& arguments) {
  const Json& schema = tool.description.at("inputSchema");
  const Json properties = schema.value("properties", Json::object());
  for (const auto& [name, value] : arguments.items()) {
    if (properties.contains(name)) continue;
    std::string known;
    for (const auto& [one, unused] : properties.items()) known += (known.empty() ? "" : ", ") + one;
    return BadValue(name,
                    fmt::format("the tool '{}' takes no argument '{}'; it takes {}", tool.name,
                                name.substr(0, 64), known.empty() ? "none" : known));
  }
  for (const Json& name : schema.value("required", Json::array())) {
    const auto& text = name.get_ref<const std::string&>();
    if (Find(arguments, text.c_str()) == nullptr)
      return BadValue(text, fmt::format("the argument '{}' is missing", text));
  }
  return {};
}

Json ToolResult(std::string text, Json structured) {
  return {{"content", Json::array({{{"type", "text"}, {"text", std::move(text)}}})},
          {"structuredContent", std::move(structured)},
          {"isError", false}};
}

Json ToolError(std::string sentence) {
  return {{"content", Json::array({{{"type", "text"}, {"text", std::move(sentence)}}})},
          {"isError", true}};
}

}  // namespace exo::service::mcp
