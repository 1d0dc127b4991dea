// What a form costs at a vocabulary of 128,000 (Llama 3's), one thread: compiling, and each token's
// mask along random answers, caches as they come from empty ones. Lines for grammars, for lists of
// tools, and for all schemas of the official suite (EXO_SHARED).
//   grammar_bench VOCABULARY.gguf [seconds for each]
#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/random.h"
#include "chat/call_grammar.h"
#include "engine/grammar_masks.h"
#include "grammar/grammar.h"
#include "grammar/matcher.h"
#include "model/gguf.h"

namespace exo {
namespace {

using Clock = std::chrono::steady_clock;
using wire::GrammarKind;

// Of the thread's processor time: other programs make no difference.
class Stopwatch {
 public:
  double microseconds() const { return double(Now() - start_) / 1e3; }
  double milliseconds() const { return double(Now() - start_) / 1e6; }

 private:
  static int64_t Now() {
    timespec now = {};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
  }
  const int64_t start_ = Now();
};

struct Case {
  std::string name;
  GrammarKind kind;
  std::string text;
};

std::vector<Case> Cases() {
  const char* person = R"({"type":"object","properties":{
    "name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150},
    "email":{"type":"string","format":"email"},"bio":{"type":"string","maxLength":200},
    "tags":{"type":"array","items":{"enum":["red","green","blue"]},"maxItems":4},
    "home":{"anyOf":[{"type":"null"},{"type":"object","properties":{"street":{"type":"string"},
      "zip":{"type":"string","pattern":"^[0-9]{5}$"}},"required":["street","zip"]}]}},
    "required":["name","age","tags"],"additionalProperties":false})";
  std::string wide = "{\"type\":\"object\",\"properties\":{";
  for (int i = 0; i < 40; ++i) {
    wide += (i == 0 ? "\"field_" : ",\"field_") + std::to_string(i) +
            "\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":" + std::to_string(20 + i) + "}";
  }
  wide += "}}";
  return {{"any JSON", GrammarKind::kJsonSchema, "{}"},
          {"person", GrammarKind::kJsonSchema, person},
          {"40 bounded strings", GrammarKind::kJsonSchema, wide},
          {"open object", GrammarKind::kJsonSchema,
           R"({"type":"object","properties":{"id":{"type":"integer"},"kind":{"enum":["a","b"]}},
               "required":["id"],"additionalProperties":{"type":"string"}})"},
          {"regex", GrammarKind::kRegex, "([A-Z][a-z]{2,15} ){3,12}[0-9]{4}-[0-9]{2}"},
          {"any text", GrammarKind::kRegex, ".{1,400}"},
          {"GBNF words", GrammarKind::kGbnf,
           "root ::= (word (\" \" | \", \"))+ \".\"\nword ::= [a-zA-Z]+ | \"(\" word \")\""}};
}

// An answer that must be a call of one of so many tools.
Case ToolCase(size_t count) {
  std::vector<chat::Tool> tools;
  for (size_t i = 0; i < count; ++i) {
    const std::string n = std::to_string(i);
    tools.push_back({.name = "service_" + std::to_string(i % 17) + "_action_" + n,
                     .parameters = R"({"type":"object","properties":{
        "path":{"type":"string"},"limit":{"type":"integer","minimum":0,"maximum":1000},
        "mode":{"type":"string","enum":["read","write","mode_)" +
                                   n + R"("]},
        "tags":{"type":"array","items":{"type":"string"}},
        "option_)" + n + R"(":{"type":"boolean"}},
        "required":["path"],"additionalProperties":false})"});
  }
  chat::AnswerFormat format;
  format.calls = chat::CommonCalls();
  const auto grammar = chat::CallGrammar(format, tools, {.required = true});
  return {std::to_string(count) + " tools", grammar->parts[0].kind, grammar->parts[0].text};
}

struct Times {
  std::vector<double> mask, next;
  size_t answers = 0;
};

// A random answer: most tokens as a model would write them, long rather than short.
void Answer(grammar::Matcher& matcher, const grammar::TokenTrie& tokens, Rng& rng, Times& times) {
  std::vector<uint64_t> allowed((tokens.vocab() + 63) / 64);
  std::vector<uint8_t> place;
  for (int step = 0; step < 200; ++step) {
    std::ranges::fill(allowed, 0);
    const Stopwatch masking;
    matcher.Allow(place, allowed);
    times.mask.push_back(masking.microseconds());
    std::vector<TokenId> may;
    for (size_t i = 0; i < allowed.size(); ++i) {
      for (uint64_t left = allowed[i]; left != 0; left &= left - 1)
        may.push_back(static_cast<TokenId>(i * 64 + static_cast<size_t>(std::countr_zero(left))));
    }
    if (may.empty()) return;
    TokenId token = may[rng.Below(may.size())];
    const bool ends = std::ranges::find(tokens.ends(), token) != tokens.ends().end();
    if (ends) return;
    const Stopwatch stepping;
    place = matcher.Next(place, token);
    matcher.Only(place);
    times.next.push_back(stepping.microseconds());
  }
}

double Part(std::vector<double>& values, double part) {
  std::ranges::sort(values);
  return values.empty() ? 0 : values[static_cast<size_t>(part * double(values.size() - 1))];
}
double Mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0 : sum / double(values.size());
}

void Print(const std::string& name, double compile_ms, Times& t) {
  std::printf("%-20s %10.2f %8zu %8.1f %8.1f %8.1f %8.0f %8.1f %8.1f\n", name.c_str(), compile_ms,
              t.mask.size(), Mean(t.mask), Part(t.mask, 0.5), Part(t.mask, 0.99), Part(t.mask, 1),
              Mean(t.next), Part(t.next, 0.99));
}

// Answers of one grammar for so long; false: it does not compile, which is said.
bool RunCase(const Case& one, const std::shared_ptr<grammar::TokenTrie>& tokens, double seconds,
             Times& all) {
  const Stopwatch compiling;
  auto automaton = grammar::Compile(grammar::WholeAnswer(one.kind, one.text));
  const double compile_ms = compiling.milliseconds();
  if (!automaton)
    return std::printf("%-20s %s\n", one.name.c_str(), automaton.error().message.c_str()), false;
  grammar::Matcher matcher(*automaton, tokens);
  Rng rng(1);
  Times times;
  const auto until = Clock::now() + std::chrono::duration<double>(seconds);
  while (Clock::now() < until) Answer(matcher, *tokens, rng, times);
  all.mask.insert(all.mask.end(), times.mask.begin(), times.mask.end());
  all.next.insert(all.next.end(), times.next.begin(), times.next.end());
  Print(one.name, compile_ms, times);
  return true;
}

// All schemas of the official suite: compiling (refusals too, the middle one of three times), and
// the masks of a few answers of each, which are mostly first ones.
void RunSuite(const std::shared_ptr<grammar::TokenTrie>& tokens) {
  const char* shared = std::getenv("EXO_SHARED");
  const std::string name = "json-schema-test-suite-draft2020-12.json";
  std::ifstream file(std::string(shared == nullptr ? "../shared" : shared) + "/data/json-schema/" +
                     name);
  const auto suite = nlohmann::ordered_json::parse(file, nullptr, false);
  if (!suite.is_object()) return void(std::printf("%s: not found by EXO_SHARED\n", name.c_str()));
  std::vector<double> compile;
  Times times;
  for (const auto& groups : suite) {
    for (const auto& group : groups) {
      const auto grammar = grammar::WholeAnswer(GrammarKind::kJsonSchema, group["schema"].dump());
      std::vector<double> rounds;
      for (int i = 0; i < 3; ++i) {
        const Stopwatch compiling;
        static_cast<void>(grammar::Compile(grammar));
        rounds.push_back(compiling.milliseconds());
      }
      compile.push_back(Part(rounds, 0.5));
      const auto automaton = grammar::Compile(grammar);
      if (!automaton) continue;
      grammar::Matcher matcher(*automaton, tokens);
      Rng rng(1);
      for (int i = 0; i < 5; ++i) Answer(matcher, *tokens, rng, times);
    }
  }
  Print("the suite's schemas", Mean(compile), times);
  std::printf(
      "compiling %zu schemas of the suite: median %.2f ms, p75 %.2f, p99 %.2f, worst %.2f\n",
      compile.size(), Part(compile, 0.5), Part(compile, 0.75), Part(compile, 0.99),
      Part(compile, 1));
}

int Run(const char* path, double seconds) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  const auto gguf = model::Gguf::Parse(std::as_bytes(std::span(bytes)));
  if (!gguf) return std::printf("%s: %s\n", path, gguf.error().message.c_str()), 1;
  const auto tokenizer = model::Tokenizer::Load(*gguf);
  if (!tokenizer) return std::printf("%s: %s\n", path, tokenizer.error().message.c_str()), 1;
  const Stopwatch reading;
  const auto tokens = std::make_shared<grammar::TokenTrie>(engine::TokensOf(**tokenizer));
  std::printf("%zu tokens, %zu nodes, read in %.0f ms\n", tokens->vocab(), tokens->nodes().size(),
              reading.milliseconds());
  std::printf("%-20s %10s %8s %8s %8s %8s %8s %8s %8s\n", "", "compile ms", "masks", "mean us",
              "p50", "p99", "worst", "next us", "p99");
  Times all;
  for (const Case& one : Cases()) {
    if (!RunCase(one, tokens, seconds, all)) return 1;
  }
  Print("all", 0, all);
  Times calls;
  for (const size_t count : {10, 100, 300, 700}) RunCase(ToolCase(count), tokens, seconds, calls);
  RunSuite(tokens);
  return 0;
}

}  // namespace
}  // namespace exo

int main(int argc, char** argv) {
  if (argc < 2) return std::printf("grammar_bench VOCABULARY.gguf [seconds]\n"), 2;
  return exo::Run(argv[1], argc > 2 ? std::atof(argv[2]) : 2);
}
