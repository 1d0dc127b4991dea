// The template interpreter against Jinja2 3.1.2 as Hugging Face runs it: our unit cases, those of
// two other engines, and 145 chat templates of real models over 17 conversations.
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "../tests/support/shared_data.h"
#include "model/jinja/interpreter.h"
#include "model/jinja/parser.h"

namespace exo::model::jinja {
namespace {

using nlohmann::ordered_json;
const std::string kData = "data/chat-templates/";
constexpr int64_t kClock =
    1721995200;  // 2024-07-26 12:00:00, the clock of the reference renderings

Value FromJson(const ordered_json& json) {
  switch (json.type()) {
    case ordered_json::value_t::boolean:
      return json.get<bool>();
    case ordered_json::value_t::number_integer:
    case ordered_json::value_t::number_unsigned:
      return json.get<int64_t>();
    case ordered_json::value_t::number_float:
      return json.get<double>();
    case ordered_json::value_t::string:
      return Value::String(json.get<std::string>(), false);
    case ordered_json::value_t::array: {
      List list;
      for (const auto& item : json) list.items.push_back(FromJson(item));
      return list;
    }
    case ordered_json::value_t::object: {
      Dict dict;
      for (const auto& [key, item] : json.items())
        dict.entries.emplace_back(Value::String(key, false), FromJson(item));
      return dict;
    }
    default:
      return None{};
  }
}

Variables VariablesOf(const ordered_json& json) {
  Variables variables;
  for (const auto& [key, value] : json.items()) variables.emplace(key, FromJson(value));
  return variables;
}

Result<std::string> Render(const std::string& source, const ordered_json& context,
                           int64_t clock = kClock) {
  const Body body = TRY(Parse(source));
  Interpreter interpreter(VariablesOf(context), clock);
  return TRY(interpreter.Run(body)).bytes;
}

ordered_json ReadJson(const std::string& name) {
  return ordered_json::parse(testing::ReadAll(testing::SharedPath(kData + name)));
}

// Counts what agrees; a difference is printed when EXO_TEMPLATE_DIFFERENCES is set.
class Score {
 public:
  void Add(const std::string& name, const Result<std::string>& got, bool ok,
           const std::string& expected) {
    ++cases;
    const bool same = got.has_value() == ok && (!ok || *got == expected);
    passed += same ? 1 : 0;
    if (same || std::getenv("EXO_TEMPLATE_DIFFERENCES") == nullptr) return;
    std::fprintf(stderr, "--- %s\n got: %s\n want: %s\n", name.c_str(),
                 got ? got->c_str() : ("ERROR " + got.error().message).c_str(),
                 ok ? expected.c_str() : "an error");
  }
  size_t cases = 0;
  size_t passed = 0;
};

TEST(TemplateVectorsTest, AgreesOnTheUnitCases) {
  EXO_NEED_SHARED("data/chat-templates");
  const ordered_json all = ReadJson("jinja-unit.json");
  Score score;
  for (const auto& item : all["cases"]) {
    score.Add(item["template"], Render(item["template"], all["variables"]), item["ok"],
              item.value("rendered", ""));
  }
  EXPECT_EQ(score.cases, 86u);
  EXPECT_EQ(score.passed, 85u);  // not: an integer of more than 64 bits
}

TEST(TemplateVectorsTest, AgreesOnCasesOfOtherEngines) {
  EXO_NEED_SHARED("data/chat-templates");
  for (const auto& [file, expected] :
       std::map<std::string, size_t>{{"jinja-llamacpp.json", 172}, {"jinja-hfjs.json", 98}}) {
    Score score;
    for (const auto& item : ReadJson(file)) {
      if ((item.contains("jinja2") && item["jinja2"] != "agrees") || !item.contains("expected"))
        continue;
      score.Add(item["name"], Render(item["template"], item["context"]), true, item["expected"]);
    }
    EXPECT_EQ(score.passed, expected) << file << " of " << score.cases;
  }
}

TEST(TemplateVectorsTest, AgreesOnTemplatesOfRealModels) {
  EXO_NEED_SHARED("data/chat-templates");
  const ordered_json contexts = ReadJson("contexts.json");
  std::istringstream lines(testing::ReadXz(testing::SharedPath(kData + "expected.jsonl.xz")));
  Score score;
  std::set<std::string> failing;
  for (std::string line; std::getline(lines, line);) {
    const ordered_json item = ordered_json::parse(line);
    const std::string name = item["template"];
    const std::string source =
        testing::ReadAll(testing::SharedPath(kData + "templates/" + name + ".jinja"));
    const size_t before = score.passed;
    score.Add(name + " " + item["context"].get<std::string>(),
              Render(source, contexts[item["context"].get<std::string>()]), item["ok"],
              item.value("rendered", ""));
    if (score.passed == before) failing.insert(name);
  }
  EXPECT_EQ(score.cases, 2465u);
  // Not: tool conversations of 10 templates. Jinja escapes what is added to text marked `safe`, and
  // refuses to write a filter's result as JSON before it became a list; neither is wanted in a
  // prompt.
  EXPECT_EQ(score.passed, 2440u);
  EXPECT_EQ(failing.size(), 10u);
  for (const std::string& name : failing) std::fprintf(stderr, "differs: %s\n", name.c_str());
}

}  // namespace
}  // namespace exo::model::jinja
