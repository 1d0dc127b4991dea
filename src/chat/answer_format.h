// How a model writes what is more than text: tool calls, and what it thinks before it answers. It
// is found out from the model's own chat template, by rendering messages with known calls and
// thoughts, and not from the model's name.
//
// Thread: pure, any.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/chat_template.h"

namespace exo::chat {

// What stands behind a call's name.
enum class CallForm : uint8_t {
  kJson,        // the arguments, a JSON object; the name may be a member of an object around it
  kParameters,  // each argument between texts of its own: <parameter=city>Rome</parameter>
  kValues,      // names and values as in a program: (city="Rome", days=2)
  kChannels,    // messages with headers, of which some are calls: gpt-oss' format
};

// The texts around the parts of a call, in their order:
//   section_begin { call_begin object_begin NAME after_name [ID after_id] ARGUMENTS after_arguments
//   call_end }, between two of them `between`, and section_end.
// ARGUMENTS of kParameters are
//   { parameter_begin NAME string_begin | value_begin VALUE parameter_end }
// and of kValues values_open { NAME value_begin VALUE, values_between between two } values_close.
struct CallSyntax {
  CallForm form = CallForm::kJson;
  std::string section_begin, section_end, between;
  std::string call_begin, call_end;
  std::string object_begin;  // {"name": " where the call is an object
  std::string name_key, arguments_key;
  std::string after_name;  // of kChannels: what the template writes up to the arguments
  std::string after_id;    // not empty: an id stands between it and after_name
  std::string after_arguments;
  bool indexed = false;  // :0, :1, … stand behind the names
  std::string parameter_begin, string_begin, value_begin, parameter_end;
  std::string values_open, string_quote, values_between, values_close;
  bool one_call = false;  // the template takes no more

  // Nothing but JSON tells a call from text.
  bool bare() const;
};

// What is thought stands between these; empty: the format knows none.
struct ReasoningSyntax {
  std::string begin, end;  // without white space around them
};

struct AnswerFormat {
  CallSyntax calls;
  // The template shows calls; if it does not, `calls` is the form that most models were trained
  // with.
  bool has_calls = false;
  bool arguments_as_text = false;  // the template takes arguments as a text only
  std::string other_begin;         // may stand instead of the section's begin: <|python_tag|>
  ReasoningSyntax reasoning;
};

// All that the format writes beside names, arguments and text.
std::vector<std::string> TextsOf(const AnswerFormat& format);

// <tool_call>{"name": …, "arguments": …}</tool_call>
CallSyntax CommonCalls();

// `source`: of the template. Cost: some ten renderings.
AnswerFormat FindAnswerFormat(const model::ChatTemplate& chat_template, std::string_view source,
                              const model::ChatTemplateOptions& options);

}  // namespace exo::chat
