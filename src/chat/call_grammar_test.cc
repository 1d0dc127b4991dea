// The grammars of calls in the formats of real models: whatever a grammar lets a model write is
// read back as calls whose arguments fit their tool's schema.
#include "chat/call_grammar.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>

#include "../tests/support/processor_time.h"
#include "../tests/support/shared_data.h"
#include "base/random.h"
#include "chat/answer_reader.h"
#include "chat/literal.h"
#include "grammar/grammar.h"
#include "grammar/test_texts.h"

namespace exo::chat {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kSchema = R"({"type":"object","properties":{
    "name":{"type":"string"},
    "count":{"type":"integer"},
    "ratio":{"type":"number"},
    "unit":{"type":"string","enum":["km","a \"mile\""]},
    "level":{"enum":[1,2]},
    "limit":{"type":["integer","null"]},
    "size":{"anyOf":[{"type":"number"},{"type":"null"}]},
    "color":{"$ref":"#/$defs/color"},
    "place":{"type":"object","properties":{"at":{"type":"number"},"label":{"type":"string"}},
             "required":["at"],"additionalProperties":false},
    "tags":{"type":"array","items":{"type":"string"},"maxItems":2}},
  "required":["name","unit","place"],"additionalProperties":false,
  "$defs":{"color":{"type":"string","enum":["7","red"]}}})";

model::Data DataOf(const Json& json) {
  if (json.is_string()) return {json.get<std::string>()};
  if (json.is_boolean()) return {json.get<bool>()};
  if (json.is_number()) return {json.get<int64_t>()};
  if (json.is_array()) {
    model::DataList list;
    for (const Json& item : json) list.push_back(DataOf(item));
    return {std::move(list)};
  }
  model::DataMap map;
  for (const auto& [key, value] : json.items()) map.push_back({key, DataOf(value)});
  return {std::move(map)};
}
std::vector<Tool> BothTools() {
  const Json tools = {
      {{"function", {{"name", "find_place"}, {"parameters", Json::parse(kSchema)}}}},
      {{"function",
        {{"name", "get_time"}, {"parameters", {{"type", "object"}, {"properties", {}}}}}}},
      {{"function", {{"name", "run"}, {"parameters", {{"type", "object"}}}}}}};
  return ToolsOf(std::get<model::DataList>(DataOf(tools).value));
}

// Whether a tool's schema allows these arguments: in a format of its own or not, they are JSON.
bool Fit(const Json& arguments, const std::string& tool) {
  if (!arguments.is_object()) return false;
  const Json schema = Json::parse(kSchema);
  if (tool != "find_place") return true;
  for (const Json& name : schema["required"]) {
    if (!arguments.contains(name.get<std::string>())) return false;
  }
  for (const auto& [key, value] : arguments.items()) {
    Json of = schema["properties"].value(key, Json());
    if (of.contains("$ref")) of = schema["$defs"]["color"];
    if (of.is_null()) return false;
    if (of.contains("enum") && std::ranges::find(of["enum"], value) == of["enum"].end())
      return false;
    const std::string type = of.contains("type") && of["type"].is_string() ? of["type"] : "";
    if (type == "string" && !value.is_string()) return false;
    if ((key == "limit" || key == "size") && !value.is_number() && !value.is_null()) return false;
    if (type == "integer" && !value.is_number()) return false;
    if (type == "number" && !value.is_number()) return false;
    if (type == "array" && !value.is_array()) return false;
    if (type == "object" && !(value.is_object() && value.contains("at"))) return false;
  }
  return true;
}

struct Family {
  std::shared_ptr<const AnswerFormat> format;
  std::vector<ControlToken> controls;  // all of its tags
};
std::map<std::string, Family> Families() {
  std::map<std::string, Family> all;
  for (const auto& entry : std::filesystem::directory_iterator(
           exo::testing::SharedPath("data/chat-templates/templates"))) {
    const std::string source = exo::testing::ReadAll(entry.path());
    const auto parsed = model::ChatTemplate::Parse(source);
    if (!parsed) continue;
    const AnswerFormat format =
        FindAnswerFormat(**parsed, source, {.bos_token = "<s>", .eos_token = "</s>", .now = 0});
    Family one = {.format = std::make_shared<const AnswerFormat>(format)};
    static const std::regex tag(R"(<\S+?>|\[/?[A-Z_]+\])");
    for (const std::string& text : TextsOf(format)) {
      for (auto at = std::sregex_iterator(text.begin(), text.end(), tag);
           at != std::sregex_iterator(); ++at) {
        const std::string found = at->str();
        if (std::ranges::find(one.controls, found, &ControlToken::text) != one.controls.end())
          continue;
        static const std::regex ends("</s>|<.im_end.>|<.eot_id.>|<.eom_id.>|<.call.>|<.return.>");
        one.controls.push_back({.text = found,
                                .id = static_cast<TokenId>(one.controls.size()),
                                .ends = std::regex_match(found, ends)});
      }
    }
    all[entry.path().stem().string()] = std::move(one);
  }
  return all;
}

// Draws texts of a grammar, control tokens written out. Now and then one of `whole` comes, where it
// may: ends that single bytes do not hit upon.
class Drawer {
 public:
  Drawer(const grammar::Automaton& automaton, const std::vector<ControlToken>& controls,
         std::vector<std::string> whole)
      : stacks_(automaton), controls_(controls), whole_(std::move(whole)) {}

  // Empty: longer than `most`.
  std::string Draw(Rng& rng, size_t most) {
    grammar::SetId set = stacks_.Start();
    std::string text;
    while (text.size() < most) {
      const bool ends = stacks_.Ends(set);
      const std::vector<uint8_t> bytes = NextBytes(set);
      const std::vector<const ControlToken*> tokens = NextTokens(set);
      if ((ends && rng.Below(3) == 0) || (bytes.empty() && tokens.empty())) return ends ? text : "";
      if (bytes.empty() || (!tokens.empty() && rng.Below(2) == 0)) {
        const ControlToken& token = *tokens[rng.Below(tokens.size())];
        text += token.text;
        set = stacks_.StepToken(set, token.id);
        continue;
      }
      std::string more(1, static_cast<char>(bytes[rng.Below(bytes.size())]));
      if (rng.Below(3) == 0) {
        const std::string& whole = whole_[rng.Below(whole_.size())];
        if (Walk(set, whole) != grammar::kDeadSet) more = whole;
      }
      text += more;
      set = Walk(set, more);
    }
    return "";
  }

 private:
  grammar::SetId Walk(grammar::SetId set, std::string_view text) {
    for (const char c : text) set = stacks_.Step(set, static_cast<uint8_t>(c));
    return set;
  }
  std::vector<uint8_t> NextBytes(grammar::SetId set) {
    std::vector<uint8_t> next;
    for (int byte = 0; byte < 256; ++byte) {
      if (stacks_.Step(set, static_cast<uint8_t>(byte)) != grammar::kDeadSet)
        next.push_back(static_cast<uint8_t>(byte));
    }
    return next;
  }
  std::vector<const ControlToken*> NextTokens(grammar::SetId set) {
    std::vector<const ControlToken*> next;
    for (const ControlToken& one : controls_) {
      if (stacks_.StepToken(set, one.id) != grammar::kDeadSet) next.push_back(&one);
    }
    return next;
  }

  grammar::Stacks stacks_;
  const std::vector<ControlToken>& controls_;
  const std::vector<std::string> whole_;
};

// Without the texts of control tokens: models write the tokens.
std::vector<std::string> WholeTexts(const AnswerFormat& format,
                                    const std::vector<ControlToken>& controls) {
  std::vector<std::string> all = {"\"", "}", "]", "\"}", "\\\"", "</"};
  const bool channels = format.calls.form == CallForm::kChannels;
  for (const std::string& text :
       {format.calls.parameter_end, channels ? "<|end|>" : format.calls.call_end,
        format.calls.section_end, format.calls.string_quote, format.reasoning.end}) {
    if (text.empty()) continue;
    all.push_back(text);
    if (const std::string_view inner = Trimmed(text); !inner.empty()) all.emplace_back(inner);
  }
  std::erase_if(all, [&](const std::string& text) {
    return std::ranges::any_of(controls, [&](const ControlToken& one) {
      return text.find(one.text) != std::string::npos;
    });
  });
  return all;
}

struct Mode {
  const char* name;
  bool required = true, named = false, many = true, thinking = false;
};
constexpr std::array kModes = {
    Mode{"auto", false},       Mode{"auto, one call", false, false, false},
    Mode{"required"},          Mode{"required, thinking", true, false, true, true},
    Mode{"named", true, true}, Mode{"one call", true, false, false}};

// What reads a text back; empty: nothing is wrong with it.
std::string WhatIsWrong(const Family& family, const Mode& mode, const std::vector<Tool>& tools,
                        const std::string& text, bool constrained) {
  const auto reader = MakeAnswerReader(family.format, {.tools = tools,
                                                       .thinking = mode.thinking,
                                                       .constrained = constrained,
                                                       .max_calls = mode.many ? UINT32_MAX : 1,
                                                       .make_id = [] { return "id"; }});
  std::vector<Piece> pieces;
  reader->Push(text.substr(0, text.size() / 2), pieces);
  reader->Push(text.substr(text.size() / 2), pieces);
  reader->Finish(pieces);
  std::string shown;
  std::vector<std::pair<std::string, std::string>> calls;
  for (const Piece& piece : pieces) {
    if (piece.kind == Piece::Kind::kText) shown += piece.text;
    if (piece.kind == Piece::Kind::kCall) calls.emplace_back(piece.text, "");
    if (piece.kind == Piece::Kind::kArguments) calls.at(piece.call).second += piece.text;
  }
  if (!Trimmed(shown).empty()) return "text: " + shown;
  if (calls.empty() || (!mode.many && calls.size() > 1))
    return "calls: " + std::to_string(calls.size());
  for (const auto& [name, arguments] : calls) {
    if (FindTool(tools, name) == nullptr) return "a call of " + name;
    if (!Fit(Json::parse(arguments, nullptr, false), name)) return name + " with " + arguments;
  }
  return "";
}

// What stands in front of a grammar's part, and the grammar of what follows.
std::pair<std::string, wire::Grammar> Behind(const wire::Grammar& grammar, const Family& family,
                                             const std::vector<ControlToken>& controls) {
  if (!grammar.triggered) return {"", grammar};
  const wire::GrammarPart& part = grammar.parts.at(0);
  std::string begin = part.begin;
  for (const ControlToken& one : controls) {
    if (part.begin.empty() && one.id == part.begin_token) begin = one.text;
  }
  if (family.format->calls.form == CallForm::kChannels) begin = "<|channel|>commentary" + begin;
  return {begin, grammar::WholeAnswer(part.kind, part.text)};
}

// Of an answer that must be calls nothing is shown as text, wherever it ends.
std::string WhatIsWrongWithCuts(const Family& family, const Mode& mode,
                                const std::vector<Tool>& tools, const std::string& text) {
  for (size_t end = 1; end < text.size(); end += 1 + text.size() / 8) {
    const auto reader = MakeAnswerReader(family.format, {.tools = tools,
                                                         .thinking = mode.thinking,
                                                         .constrained = true,
                                                         .required = true,
                                                         .max_calls = mode.many ? UINT32_MAX : 1,
                                                         .make_id = [] { return "id"; }});
    std::vector<Piece> pieces;
    reader->Push(std::string_view(text).substr(0, end), pieces);
    reader->Finish(pieces);
    for (const Piece& piece : pieces) {
      if (piece.kind == Piece::Kind::kText && !Trimmed(piece.text).empty())
        return fmt::format("shown of the first {} bytes: {}", end, piece.text);
    }
  }
  return "";
}

// Calls that were read.
size_t ReadDrawn(const Family& family, const Mode& mode, bool with_controls) {
  std::vector<Tool> tools = BothTools();
  if (mode.named) tools.resize(1);
  const std::vector<ControlToken> controls =
      with_controls ? family.controls : std::vector<ControlToken>();
  const auto grammar = CallGrammar(*family.format, tools,
                                   {.controls = controls,
                                    .required = mode.required,
                                    .thinking = mode.thinking,
                                    .many = mode.many});
  EXPECT_TRUE(grammar || !mode.required);
  if (!grammar) return 0;
  const auto whole = grammar::Compile(*grammar);
  EXPECT_TRUE(whole) << whole.error().message << "\n" << grammar->parts[0].text;
  const auto [begin, rest] = Behind(*grammar, family, controls);
  const auto compiled = grammar::Compile(rest);
  EXPECT_TRUE(compiled) << compiled.error().message << "\n" << rest.parts[0].text;
  if (!whole || !compiled) return 0;
  Drawer drawer(**compiled, controls, WholeTexts(*family.format, controls));
  Rng rng(7);
  size_t read = 0;
  for (int i = 0; i < 40 && read < 5; ++i) {
    const std::string drawn = drawer.Draw(rng, 900);
    if (drawn.empty()) continue;
    ++read;
    for (const bool constrained : {false, true}) {
      const std::string wrong = WhatIsWrong(family, mode, tools, begin + drawn, constrained);
      EXPECT_EQ(wrong, "") << begin + drawn << "\n" << rest.parts[0].text;
      if (!wrong.empty()) return read;
    }
    if (!mode.required || with_controls || read > 1) continue;
    EXPECT_EQ(WhatIsWrongWithCuts(family, mode, tools, begin + drawn), "") << begin + drawn;
  }
  return read;
}

TEST(CallGrammarTest, WhateverItAllowsIsReadBackAsCalls) {
  EXO_NEED_SHARED("data/chat-templates");
  size_t families = 0;
  for (const auto& [name, family] : Families()) {
    SCOPED_TRACE(name);
    if (!family.format->has_calls) continue;
    ++families;
    for (const Mode& mode : kModes) {
      if (mode.thinking && family.format->reasoning.end.empty()) continue;
      for (const bool controls : {false, true}) {
        SCOPED_TRACE(std::string(mode.name) + (controls ? ", control tokens" : ""));
        const size_t read = ReadDrawn(family, mode, controls);
        if (mode.required) EXPECT_GE(read, 3u);
      }
    }
  }
  EXPECT_EQ(families, 65u);
}

// As Llama 3 writes calls.
TEST(CallGrammarTest, StrictToolsAreHeldWhereOnlyTheFirstCharacterTellsACall) {
  AnswerFormat format;
  format.calls = CommonCalls();
  format.calls.call_begin = format.calls.call_end = "";
  ASSERT_TRUE(format.calls.bare());
  const std::vector<Tool> tools = {
      {.name = "f", .parameters = R"({"properties":{"a":{"type":"integer"}},"required":["a"]})"}};
  EXPECT_FALSE(CallGrammar(format, tools, {}));
  const auto grammar = CallGrammar(format, tools, {.strict = true});
  ASSERT_TRUE(grammar);
  const auto automaton = grammar::Compile(*grammar);
  ASSERT_TRUE(automaton) << automaton.error().message;
  for (const char* text : {"", "Hello.\n{", " a", R"({"name": "f", "arguments": {"a":1}})"})
    EXPECT_TRUE(grammar::Accepts(**automaton, text)) << text;
  for (const char* text : {"{}", " {", R"({"name": "g", "arguments": {"a":1}})",
                           R"({"name": "f", "arguments": {"a":"x"}})"})
    EXPECT_FALSE(grammar::Accepts(**automaton, text)) << text;
}

TEST(CallGrammarTest, KeywordsThatAFormCannotHoldAreNamed) {
  const auto keyword = [](CallForm form, const char* quote, const char* schema) {
    AnswerFormat format;
    format.calls.form = form;
    format.calls.string_quote = quote;
    return KeywordNotHeld(format, {.name = "f", .parameters = schema});
  };
  constexpr const char* kPattern =
      R"({"type":"object","properties":{"a":{"type":"string","pattern":"^x$"}}})";
  EXPECT_EQ(keyword(CallForm::kJson, "", kPattern), "");
  EXPECT_EQ(keyword(CallForm::kParameters, "", kPattern), "pattern");
  EXPECT_EQ(keyword(CallForm::kValues, "\"", kPattern), "");
  EXPECT_EQ(keyword(CallForm::kValues, "<|\"|>", kPattern), "pattern");
  EXPECT_EQ(keyword(CallForm::kParameters, "", BothTools()[0].parameters.c_str()), "");
  for (const auto& [schema, expected] : std::vector<std::pair<const char*, const char*>>{
           {R"({"type":"object"})", ""},
           {R"({"type":"object","additionalProperties":false})", "additionalProperties"},
           {R"({"properties":{"a":{"type":"string","title":"A"}},"minProperties":1})",
            "minProperties"},
           {R"({"properties":{"a":{}},"required":["b"]})", "required"},
           {R"({"properties":{"a":{"enum":["x",1]}}})", "enum"}})
    EXPECT_EQ(keyword(CallForm::kParameters, "", schema), expected) << schema;
  for (const auto& [schema, expected] : std::vector<std::pair<const char*, const char*>>{
           {R"({"properties":{"a":{"enum":["x",1]},"b":{"type":"array","items":{"type":"object",
               "properties":{"c":{"type":"string"}}},"minItems":1}}})",
            ""},
           {R"({"properties":{"a":{"type":"object","properties":{"b":{"$ref":"#/$defs/x"}}}}})",
            "$ref"},
           {R"({"properties":{"a":{"type":"array","uniqueItems":true}}})", "uniqueItems"},
           {R"({"properties":{"a":{"type":"array","minItems":2000}}})", "minItems"},
           {R"({"properties":{"a":{"type":"string","const":"x"},"b":{"const":[]}}})", "const"},
           {R"({"properties":{"a":{"type":["integer","null"]}}})", ""},
           {R"({"properties":{"a":{"oneOf":[{"type":"string"}]}}})", "oneOf"}})
    EXPECT_EQ(keyword(CallForm::kValues, "<|\"|>", schema), expected) << schema;
}

// In the value language of Gemma 4.
TEST(CallGrammarTest, ValuesAreHeldToTheirSchema) {
  AnswerFormat format;
  format.calls = {.form = CallForm::kValues,
                  .call_begin = "<call>",
                  .call_end = "</call>",
                  .value_begin = ":",
                  .values_open = "{",
                  .string_quote = "``",
                  .values_between = ",",
                  .values_close = "}"};
  const std::vector<Tool> tools = {{.name = "f", .parameters = R"({"properties":{
      "a":{"type":"integer","maximum":9},
      "b":{"type":["string","null"]},
      "c":{"type":"array","items":{"enum":["x",1]},"minItems":1,"maxItems":2},
      "d":{"type":"object","properties":{"e":{"type":"boolean"}},"required":["e"]},
      "any":{}},"required":["c"]})"}};
  const auto grammar = CallGrammar(format, tools, {.required = true});
  ASSERT_TRUE(grammar);
  const auto automaton = grammar::Compile(*grammar);
  ASSERT_TRUE(automaton) << automaton.error().message << grammar->parts[0].text;
  const auto allows = [&](const std::string& arguments) {
    return grammar::Accepts(**automaton, "<call>f" + arguments + "</call>");
  };
  for (const char* good : {"{c:[1]}", "{a:9,c:[``x``,1]}", "{b:``any, {text}``,c:[1],d:{e:true}}",
                           "{b:null,c:[1]}", "{c:[1],any:{k:[``s``,2,{}]}}"})
    EXPECT_TRUE(allows(good)) << good;
  for (const char* bad :
       {"{}", "{c:[]}", "{c:[1,1,1]}", "{c:[``y``]}", "{a:10,c:[1]}", "{c:[1],a:1}", "{a:1 c:[1]}",
        "{c:[1],d:{}}", "{c:[1],}", "{a:``1``,c:[1]}"})
    EXPECT_FALSE(allows(bad)) << bad;
}

// A call of one of so many tools, each with arguments of its own.
wire::Grammar CallOfMany(size_t count) {
  std::vector<Tool> tools;
  for (size_t i = 0; i < count; ++i)
    tools.push_back({.name = fmt::format("tool_{}", i),
                     .parameters = fmt::format(R"({{"properties":{{"path":{{"type":"string"}},
                         "option_{}":{{"type":"boolean"}}}},"required":["path"]}})",
                                               i)});
  AnswerFormat format;
  format.calls = CommonCalls();
  return CallGrammar(format, tools, {.required = true}).value();
}

TEST(CallGrammarTest, OfManyToolsEachCanBeCalled) {
  const auto automaton = grammar::Compile(CallOfMany(700));
  ASSERT_TRUE(automaton) << automaton.error().message;
  const auto call = [](int tool, int option) {
    return fmt::format(
        "<tool_call>\n{{\"name\": \"tool_{}\", \"arguments\": "
        "{{\"path\":\"a\",\"option_{}\":true}}}}\n"
        "</tool_call>",
        tool, option);
  };
  for (const int tool : {0, 7, 70, 511, 512, 699})
    EXPECT_TRUE(grammar::Accepts(**automaton, call(tool, tool))) << tool;
  EXPECT_FALSE(grammar::Accepts(**automaton, call(700, 700)));
  EXPECT_FALSE(grammar::Accepts(**automaton, call(7, 70))) << "another one's argument";
}

// Eight times as many tools take about eight times as long, not 64 times.
TEST(CallGrammarTest, ManyToolsCompileInLinearTime) {
  const auto seconds = [](size_t count) {
    return exo::testing::ProcessorSeconds(
        [&] { EXPECT_TRUE(grammar::Compile(CallOfMany(count))); });
  };
  const double few = seconds(50), many = seconds(400);
  EXPECT_LT(many, 24 * few) << few << " and " << many << " s";
}

}  // namespace
}  // namespace exo::chat
