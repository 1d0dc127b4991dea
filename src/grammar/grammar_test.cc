#include "grammar/grammar.h"

#include <gtest/gtest.h>

#include <chrono>

#include "../tests/support/processor_time.h"
#include "grammar/test_texts.h"

namespace exo::grammar {
namespace {

using wire::GrammarKind;

std::shared_ptr<const Automaton> Make(GrammarKind kind, std::string text) {
  auto automaton = Compile(WholeAnswer(kind, std::move(text)));
  EXPECT_TRUE(automaton) << automaton.error().message;
  return automaton.value();
}
std::string ErrorOf(GrammarKind kind, std::string text) {
  const auto automaton = Compile(WholeAnswer(kind, std::move(text)));
  return automaton ? "" : automaton.error().message;
}
bool Fits(const std::string& schema, std::string_view text) {
  return Accepts(*Make(GrammarKind::kJsonSchema, schema), text);
}

TEST(GrammarTest, GbnfRulesGroupsAndRepetitions) {
  const auto grammar = Make(GrammarKind::kGbnf, R"gbnf(# a comment
root  ::= expr ("," ws expr)*   # more
expr  ::= term ( [-+*/] term )*
term  ::= num | "(" expr ")" | "\"" [^"\n\x41]{2,3} "\""
num   ::= [0-9]+ ("." [0-9]{1,2})?
ws    ::= " "?
)gbnf");
  for (const char* good : {"1", "1+2", "(1.25*3), 4", "((((7))))", "\"ab\"", "\"\xC3\xA9zz\"-1"})
    EXPECT_TRUE(Accepts(*grammar, good)) << good;
  for (const char* bad : {"", "1+", "(1", "1.234", "\"a\"", "\"abcd\"", "\"aA\"", "1,,2"})
    EXPECT_FALSE(Accepts(*grammar, bad)) << bad;
}

TEST(GrammarTest, GbnfHoldsSchemasAndTextsUpToALiteral) {
  const auto grammar = Make(
      GrammarKind::kGbnf,
      "root ::= %until \"<b>\" call+\n"
      R"g(call ::= "(" %json {"type": "object", "properties": {"a}": {"type": "integer"}}} ")")g");
  EXPECT_TRUE(Accepts(*grammar, R"g(x<<b>({"a}": 1}))g"));
  EXPECT_TRUE(Accepts(*grammar, R"g(<b>({"a}": 1})({}))g"));
  EXPECT_FALSE(Accepts(*grammar, R"g(<b><b>({"a}": 1}))g"));
  EXPECT_FALSE(Accepts(*grammar, R"g(<b>({"a}": "1"}))g"));
}

TEST(GrammarTest, WhatIsWrongWithGbnfIsSaidWithItsLine) {
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"root ::= a", "'a'"},
      {"other ::= \"x\"", "'root'"},
      {"root ::= \"x", "line 1"},
      {"root ::= \"x\"\nroot ::= \"y\"", "twice"},
      {"root = \"x\"", "::="},
      {"root ::= [a", "']'"},
      {"root ::= (\"a\"", "')'"},
      {"root ::= \"a\"{3,1}", "wrong"},
      {"root ::= root \"a\" | \"a\"", "left recursion"},
      {"root ::= x root\nx ::= \"\"", "left"},
      {"root ::= \"a\" root", "no text"},
      {"root ::= <tok>", "a number: <[1000]>"},
      {"root ::= %json []", "%json"},
      {"root ::= %json {\"type\": \"x\"", "%json"},
      {"root ::= %until \"\"", "%until"},
      {"root ::= \"\\q\"", "escape"}};
  for (const auto& [text, word] : bad) {
    const std::string error = ErrorOf(GrammarKind::kGbnf, text);
    EXPECT_NE(error.find(word), std::string::npos) << text << ": " << error;
  }
}

TEST(GrammarTest, LongRepetitionsAreCounted) {
  const auto grammar = Make(GrammarKind::kGbnf, "root ::= \"<\" [a-z]{3,5000} \">\" [0-9]{1000,}");
  EXPECT_LT(grammar->states.size(), 100u);
  const auto text = [](size_t letters, size_t digits) {
    return "<" + std::string(letters, 'q') + ">" + std::string(digits, '7');
  };
  EXPECT_TRUE(Accepts(*grammar, text(3, 1000)) && Accepts(*grammar, text(5000, 1001)));
  EXPECT_FALSE(Accepts(*grammar, text(2, 1000)) || Accepts(*grammar, text(5001, 1000)));
  EXPECT_FALSE(Accepts(*grammar, text(3, 999)));
  const std::string schema = R"({"type":"string","minLength":3,"maxLength":40000})";
  EXPECT_TRUE(Fits(schema, "\"" + std::string(40000, 'x') + "\""));
  EXPECT_FALSE(Fits(schema, "\"" + std::string(40001, 'x') + "\""));
  EXPECT_FALSE(Fits(schema, R"("\u00e9\uD83D\uDE00")")) << "two characters";
  EXPECT_TRUE(Fits(schema, R"("\u00e9\uD83D\uDE00\n")"));
}

// What has to come several times but matches nothing leads nowhere: it is never begun.
TEST(GrammarTest, RepetitionsOfNothingAreNoWay) {
  for (const char* never : {"^c-a[]{2,9}(x|y)-*$", "a[]+", "([]b){3,}", "(a[]{1,2}){4,4}"}) {
    const std::string error = ErrorOf(GrammarKind::kRegex, never);
    EXPECT_NE(error.find("no text"), std::string::npos) << never << ": " << error;
  }
  const auto grammar = Make(GrammarKind::kRegex, "c-(a[]{2,9}|b[]{0,9}|[]{3,}x)d");
  EXPECT_TRUE(Accepts(*grammar, "c-bd"));
  Stacks stacks(*grammar);
  SetId set = stacks.Start();
  for (const char c : std::string("c-")) set = stacks.Step(set, static_cast<uint8_t>(c));
  EXPECT_EQ(stacks.Step(set, 'a'), kDeadSet);
  EXPECT_EQ(stacks.Step(set, 'x'), kDeadSet);
}

TEST(GrammarTest, ChoicesAreThoseTexts) {
  const auto grammar = Make(GrammarKind::kChoices, R"(["yes", "yesterday", "n\n\u00e9"])");
  EXPECT_TRUE(Accepts(*grammar, "yes") && Accepts(*grammar, "yesterday"));
  EXPECT_TRUE(Accepts(*grammar, "n\n\xC3\xA9"));
  EXPECT_FALSE(Accepts(*grammar, "yeste") || Accepts(*grammar, "no"));
  for (const char* bad : {"[]", "[1]", "[\"\"]", "{}", "[\"a\""})
    EXPECT_NE(ErrorOf(GrammarKind::kChoices, bad), "") << bad;
}

TEST(GrammarTest, MembersComeInTheirOrderAndNoOthers) {
  const std::string schema = R"({"type":"object","properties":{"z":{"type":"integer"},
      "a":{"type":"boolean"},"m":{}},"required":["a"]})";
  for (const char* good : {R"({"a":true})", R"({"z":1,"a":false})", R"({ "a" : true , "m":[{}]})",
                           "{\n  \"z\": 5,\n  \"a\": true\n}"})
    EXPECT_TRUE(Fits(schema, good)) << good;
  for (const char* bad : {"{}", R"({"a":true,"z":1})", R"({"z":1})", R"({"a":true,"b":1})",
                          R"({"a":true,})", R"({,"a":true})", R"({"a":1})", R"({"a":true)"})
    EXPECT_FALSE(Fits(schema, bad)) << bad;
  EXPECT_TRUE(Fits(R"({"type":"object"})", R"({"any":{"thing":[1,null]}})")) << "nothing is said";
  EXPECT_TRUE(Fits(R"({"properties":{"a":{}},"additionalProperties":{"type":"null"}})",
                   R"({"a":1,"b":null})"));
  EXPECT_FALSE(
      Fits(R"({"properties":{"a":{}},"additionalProperties":{"type":"null"}})", R"({"b":1})"));
}

// What most validators take: ajv's wants a dot in the domain.
// Strict tools require every member: written into one rule, they were more than it may have states.
TEST(GrammarTest, AThousandMembersMayBeRequired) {
  std::string properties, names, text, text_without_last;
  for (int i = 0; i < 1000; ++i) {
    const std::string name = fmt::format("\"member_{}\"", i);
    const char* comma = i == 0 ? "" : ",";
    properties += comma + name + R"(:{"type":"integer"})";
    names += comma + name;
    text_without_last = text;
    text += comma + name + ":1";
  }
  const auto grammar =
      Make(GrammarKind::kJsonSchema,
           R"({"type":"object","properties":{)" + properties + R"(},"required":[)" + names + "]}");
  EXPECT_TRUE(Accepts(*grammar, "{" + text + "}"));
  EXPECT_FALSE(Accepts(*grammar, "{" + text_without_last + "}"));
}

TEST(GrammarTest, MailGoesToADomain) {
  const std::string schema = R"({"type":"string","format":"email"})";
  EXPECT_TRUE(Fits(schema, R"("joe.b+x@mail.example.org")"));
  for (const char* bad : {R"("joe@host")", R"("joe@")", R"("@example.org")", R"("joe@-x.org")"})
    EXPECT_FALSE(Fits(schema, bad)) << bad;
}

TEST(GrammarTest, NumbersKeepTheirBounds) {
  const auto check = [](const std::string& schema, std::vector<const char*> good,
                        std::vector<const char*> bad) {
    for (const char* text : good) EXPECT_TRUE(Fits(schema, text)) << schema << text;
    for (const char* text : bad) EXPECT_FALSE(Fits(schema, text)) << schema << text;
  };
  check(R"({"type":"number","minimum":-1.25,"exclusiveMaximum":10})",
        {"-1.25", "-1.2", "0", "9.999", "-0.5", "1"}, {"-1.26", "10", "-2", "10.0", "1e1", "01"});
  check(R"({"type":"number","exclusiveMinimum":0.05})", {"0.051", "1", "0.06"},
        {"0.05", "0", "-1"});
  check(R"({"type":"integer","minimum":99,"maximum":1234})", {"99", "100", "1234"},
        {"98", "1235", "99.0", "-100"});
  check(R"({"type":"integer","multipleOf":7})", {"0", "7", "-49", "700"}, {"8", "-1", "7.0"});
  check(R"({"type":"number","multipleOf":0.25})", {"0.25", "3", "1.50", "2.75"}, {"0.3", "1.125"});
  check(R"({"type":"integer"})", {"0", "-1"}, {"-0", "1.5", "1e3", "00"});
  // Against a random oracle.
  Rng rng(5);
  for (int round = 0; round < 40; ++round) {
    const double low = (rng.Uniform() - 0.5) * 200, high = low + rng.Uniform() * 100;
    const std::string schema =
        fmt::format(R"({{"type":"number","minimum":{:.4g},"maximum":{:.4g}}})", low, high);
    const double from = std::stod(fmt::format("{:.4g}", low)),
                 to = std::stod(fmt::format("{:.4g}", high));
    if (from > to) continue;
    const auto grammar = Make(GrammarKind::kJsonSchema, schema);
    for (int i = 0; i < 50; ++i) {
      const std::string text = fmt::format("{:.3f}", (rng.Uniform() - 0.5) * 250);
      const double value = std::stod(text);
      EXPECT_EQ(Accepts(*grammar, text), value >= from && value <= to) << schema << text;
    }
  }
}

TEST(GrammarTest, OneOfIsWrittenWhereAlternativesExcludeEachOther) {
  const std::string shapes = R"({"oneOf":[{"type":"object","required":["kind","r"],
      "properties":{"kind":{"const":"circle"},"r":{"type":"number"}}},{"type":"object",
      "required":["kind","w"],"properties":{"kind":{"const":"box"},"w":{"type":"number"}}}]})";
  EXPECT_TRUE(Fits(shapes, R"({"kind":"circle","r":1})"));
  EXPECT_TRUE(Fits(shapes, R"({"kind":"box","w":1})"));
  EXPECT_FALSE(Fits(shapes, R"({"kind":"box","r":1})"));
  const std::string names =
      R"({"type":"object","properties":{"a":{},"b":{}},
          "oneOf":[{"required":["a"]},{"required":["b"]}]})";
  EXPECT_TRUE(Fits(names, R"({"a":1})") && Fits(names, R"({"b":1})"));
  EXPECT_FALSE(Fits(names, R"({"a":1,"b":1})") || Fits(names, "{}"));
  EXPECT_NE(ErrorOf(GrammarKind::kJsonSchema, R"({"oneOf":[{"type":"integer"},{"type":"number"}]})")
                .find("oneOf"),
            std::string::npos);
}

TEST(GrammarTest, DependenciesAndCountsOfMembers) {
  const std::string card = R"({"type":"object","properties":{"card":{"type":"integer"},
      "address":{"type":"string"}},"dependentRequired":{"card":["address"]}})";
  EXPECT_TRUE(Fits(card, R"({"card":1,"address":"x"})") && Fits(card, R"({"address":"x"})"));
  EXPECT_FALSE(Fits(card, R"({"card":1})"));
  const std::string two = R"({"type":"object","properties":{"a":{},"b":{},"c":{}},
      "minProperties":2,"maxProperties":2})";
  EXPECT_TRUE(Fits(two, R"({"a":1,"c":1})"));
  EXPECT_FALSE(Fits(two, R"({"a":1})") || Fits(two, R"({"a":1,"b":1,"c":1})"));
  const std::string free = R"({"type":"object","minProperties":1,"maxProperties":2})";
  EXPECT_TRUE(Fits(free, R"({"q":1})") && Fits(free, R"({"q":1,"r":2})"));
  EXPECT_FALSE(Fits(free, "{}") || Fits(free, R"({"q":1,"r":2,"s":3})"));
  EXPECT_NE(ErrorOf(GrammarKind::kJsonSchema, R"({"type":"object","minProperties":2})"), "")
      << "the same key twice is one member";
}

TEST(GrammarTest, RecursionEndsWithinTheDepth) {
  const std::string tree =
      R"({"$defs":{"node":{"type":"object","properties":{"left":{"$ref":"#/$defs/node"},
      "items":{"type":"array","items":{"$ref":"#/$defs/node"}}}}},"$ref":"#/$defs/node"})";
  EXPECT_TRUE(Fits(tree, R"({"left":{"items":[{},{"left":{}}]}})"));
  const auto grammar = Make(GrammarKind::kJsonSchema, "{}");
  const auto nested = [](size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_TRUE(Accepts(*grammar, nested(kMostDepth / 2)));
  EXPECT_FALSE(Accepts(*grammar, nested(kMostDepth * 3)));
  EXPECT_NE(ErrorOf(GrammarKind::kJsonSchema,
                    R"({"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]})"),
            "");
  EXPECT_NE(ErrorOf(GrammarKind::kJsonSchema, R"({"$ref":"#"})"), "");
  // However deep a random text goes, it can always be ended.
  Rng rng(6);
  for (int i = 0; i < 30; ++i) {
    Stacks stacks(*grammar);
    SetId set = stacks.Start();
    for (int k = 0; k < 600 && !stacks.Ends(set); ++k) {
      SetId next = kDeadSet;
      for (const char byte : {'[', '{', '"', ':', ']', '}'}) {
        if (rng.Below(3) == 0) continue;
        next = stacks.Step(set, static_cast<uint8_t>(byte));
        if (next != kDeadSet) break;
      }
      if (next != kDeadSet) set = next;
      ASSERT_NE(stacks.Tops(set).size(), 0u);
    }
  }
}

TEST(GrammarTest, ToolCallsAndReferencesWithinTheirParameters) {
  const std::vector<Tool> tools = {
      {"add", R"({"type":"object","properties":{"x":{"$ref":"#/$defs/n"}},"required":["x"],
                 "$defs":{"n":{"type":"integer"}}})"},
      {"stop", R"({"type":"object","properties":{}})"}};
  const std::string schema = ToolCallSchema(tools, {}).value();
  EXPECT_TRUE(Fits(schema, R"({"name": "add", "arguments": {"x": 3}})"));
  EXPECT_TRUE(Fits(schema, R"({"name":"stop","arguments":{}})"));
  EXPECT_FALSE(Fits(schema, R"({"name":"stop","arguments":{"x":3}})"));
  EXPECT_FALSE(Fits(schema, R"({"name":"add","arguments":{"x":"3"}})"));
}

TEST(GrammarTest, TriggeredPartsStandInFreeText) {
  wire::Grammar grammar;
  grammar.triggered = true;
  grammar.parts = {{.kind = GrammarKind::kJsonSchema,
                    .text = R"({"type":"integer"})",
                    .begin = "<call>",
                    .end = "</call>"},
                   {.kind = GrammarKind::kRegex, .text = "[a-z]+", .begin = "<calm>", .end = "!"}};
  const auto accepts = [&](std::string_view text) {
    return Accepts(*Compile(grammar).value(), text);
  };
  EXPECT_TRUE(accepts("") && accepts("no call, <cal or >\xE2\x82\xAC"));
  EXPECT_TRUE(accepts("think <ca<call>12</call>") && accepts("<<calm>abc!"));
  EXPECT_FALSE(accepts("<call>x</call>") || accepts("<call>12") || accepts("<call>1</call> more"));
  grammar.repeated = true;
  EXPECT_TRUE(accepts("<call>1</call> and <calm>q! end") && accepts("nothing"));
  EXPECT_FALSE(accepts("<call>1</call><call>"));
  grammar.required = true;
  EXPECT_TRUE(accepts("x<call>1</call><call>2</call>"));
  EXPECT_FALSE(accepts("nothing"));
}

TEST(GrammarTest, ListsContainWhatTheyMust) {
  const std::string schema = R"({"items":{"type":"integer"},"contains":{"minimum":7},)";
  const std::string one = schema + R"("type":"array"})";
  EXPECT_TRUE(Fits(one, "[1,8,2]") && Fits(one, "[7]") && Fits(one, "[1,2,9]"));
  EXPECT_FALSE(Fits(one, "[]") || Fits(one, "[1,2]") || Fits(one, "[1,\"8\"]"));
  const std::string two = schema + R"("minContains":2,"type":"array"})";
  EXPECT_TRUE(Fits(two, "[8,1,9]") && Fits(two, "[1,8,8,2]"));
  EXPECT_FALSE(Fits(two, "[8,1,2]") || Fits(two, "[8]"));
  const std::string bounded = schema + R"("minItems":2,"maxItems":3,"type":"array"})";
  EXPECT_TRUE(Fits(bounded, "[8,1]") && Fits(bounded, "[9,1,2]"));
  EXPECT_FALSE(Fits(bounded, "[8]") || Fits(bounded, "[8,1,2,3]") || Fits(bounded, "[1,2]"));
  EXPECT_TRUE(Fits(R"({"type":"array","contains":{"minimum":7},"minContains":0})", "[]"));
}

TEST(GrammarTest, ListsOfDifferentValuesHaveEachOnce) {
  const std::string few =
      R"({"type":"array","items":{"enum":["a","b",1,1.0,null]},"uniqueItems":true})";
  EXPECT_TRUE(Fits(few, "[]") && Fits(few, R"(["b","a"])") && Fits(few, R"([1,null,"a","b"])"));
  EXPECT_FALSE(Fits(few, R"(["a","a"])") || Fits(few, "[1,1.0]") || Fits(few, R"(["c"])"));
  const std::string bounded = R"({"type":"array","items":{"type":["boolean","null"]},
      "uniqueItems":true,"minItems":2,"maxItems":2})";
  EXPECT_TRUE(Fits(bounded, "[true,null]"));
  EXPECT_FALSE(Fits(bounded, "[true]") || Fits(bounded, "[true,false,null]"));
  // More of them come in the order of the schema.
  const std::string many =
      R"({"type":"array","items":{"enum":[0,1,2,3,4,5,6,7]},"uniqueItems":true,"minItems":1})";
  EXPECT_TRUE(Fits(many, "[0,1,2,3,4,5,6,7]") && Fits(many, "[7]") && Fits(many, "[2,5]"));
  EXPECT_FALSE(Fits(many, "[]") || Fits(many, "[5,5]") || Fits(many, "[5,2]"));
  EXPECT_NE(ErrorOf(GrammarKind::kJsonSchema,
                    R"({"type":"array","items":{"type":"string"},"uniqueItems":true})")
                .find("uniqueItems"),
            std::string::npos);
}

// Eight times as many values take about eight times as long, not 64 times.
TEST(GrammarTest, LongEnumsCompileInLinearTime) {
  const auto seconds = [](int values) {
    std::string schema = R"({"enum":["a")";
    for (int i = 0; i < values; ++i) schema += fmt::format(R"(,"a{}")", i);
    schema += "]}";
    return exo::testing::ProcessorSeconds(
        [&] { EXPECT_TRUE(Compile(WholeAnswer(GrammarKind::kJsonSchema, schema))); });
  };
  const double few = seconds(500), many = seconds(4000);
  EXPECT_LT(many, 24 * few) << few << " and " << many << " s";
}

TEST(GrammarTest, HostileGrammarsEndSoonWithAnError) {
  std::string deep;
  for (int i = 0; i < 2000; ++i) deep += "{\"items\":";
  std::string wide = "{\"anyOf\":[";
  for (int i = 0; i < 400; ++i) wide += fmt::format("{}{{\"minLength\":{}}}", i == 0 ? "" : ",", i);
  wide += "]}";
  std::string product = "{\"allOf\":[";
  for (int i = 0; i < 30; ++i)
    product += fmt::format("{}{{\"anyOf\":[{{\"minLength\":{}}},{{\"maxLength\":{}}}]}}",
                           i == 0 ? "" : ",", i, i + 50);
  product += "]}";
  std::string nested = "root ::= a\n";
  for (char c = 'a'; c < 'z'; ++c)
    nested += fmt::format("{} ::= ({} {}){{50}}\n", c, char(c + 1), char(c + 1));
  nested += "z ::= \"x\"\n";
  const std::vector<std::pair<GrammarKind, std::string>> all = {
      {GrammarKind::kJsonSchema, deep},
      {GrammarKind::kJsonSchema, wide},
      {GrammarKind::kJsonSchema, product},
      {GrammarKind::kJsonSchema,
       R"({"type":"array","maxItems":4000,"items":{"type":"array","maxItems":4000}})"},
      {GrammarKind::kJsonSchema, R"({"pattern":"^(a|b)*a(a|b){18}$","maxLength":4000})"},
      {GrammarKind::kRegex, "(((a{99}){99}){99}){99}"},
      {GrammarKind::kRegex, "(a|b)*a(a|b){19}"},
      {GrammarKind::kGbnf, nested},
      {GrammarKind::kGbnf, "root ::= (\"a\" | \"b\")* \"a\" ((\"a\" | \"b\") \"c\"?){30}"}};
  for (const auto& [kind, text] : all) {
    const auto start = std::chrono::steady_clock::now();
    const auto automaton = Compile(WholeAnswer(kind, text));
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    // A bound for what would grow without one, not for speed: it holds with sanitizers beside other
    // work, too.
    EXPECT_LT(took.count(), 20) << text.substr(0, 60);
    if (automaton) EXPECT_LE((*automaton)->states.size(), kMaxAutomatonStates + 10);
  }
}

}  // namespace
}  // namespace exo::grammar
