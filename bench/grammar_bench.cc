// Time of one token's mask at a vocabulary of 128,000 (Llama 3's), one thread: along random answers
// of schemas and grammars, each place once, caches as they come. Prints a line for each grammar.
//   grammar_bench VOCABULARY.gguf [seconds for each]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/random.h"
#include "engine/grammar_masks.h"
#include "grammar/grammar.h"
#include "grammar/matcher.h"
#include "model/gguf.h"

namespace exo {
namespace {

using Clock = std::chrono::steady_clock;
using wire::GrammarKind;

struct Case {
  const char* name;
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
    const auto begin = Clock::now();
    matcher.Allow(place, allowed);
    const auto end = Clock::now();
    times.mask.push_back(std::chrono::duration<double, std::micro>(end - begin).count());
    std::vector<TokenId> may;
    for (size_t i = 0; i < tokens.vocab(); ++i) {
      if ((allowed[i / 64] >> i % 64 & 1) != 0) may.push_back(static_cast<TokenId>(i));
    }
    if (may.empty()) return;
    TokenId token = may[rng.Below(may.size())];
    const bool ends = std::ranges::find(tokens.ends(), token) != tokens.ends().end();
    if (ends) return;
    const auto before = Clock::now();
    place = matcher.Next(place, token);
    matcher.Only(place);
    times.next.push_back(std::chrono::duration<double, std::micro>(Clock::now() - before).count());
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

int Run(const char* path, double seconds) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  const auto gguf = model::Gguf::Parse(std::as_bytes(std::span(bytes)));
  if (!gguf) return std::printf("%s: %s\n", path, gguf.error().message.c_str()), 1;
  const auto tokenizer = model::Tokenizer::Load(*gguf);
  if (!tokenizer) return std::printf("%s: %s\n", path, tokenizer.error().message.c_str()), 1;
  const auto begin = Clock::now();
  const auto tokens = std::make_shared<grammar::TokenTrie>(engine::TokensOf(**tokenizer));
  std::printf("%zu tokens, %zu nodes, read in %.0f ms\n", tokens->vocab(), tokens->nodes().size(),
              std::chrono::duration<double, std::milli>(Clock::now() - begin).count());
  std::printf("%-20s %10s %8s %8s %8s %8s %8s %8s %8s\n", "", "compile ms", "masks", "mean us",
              "p50", "p99", "worst", "next us", "p99");
  Times all;
  const auto print = [](const char* name, double ms, Times& t) {
    std::printf("%-20s %10.2f %8zu %8.1f %8.1f %8.1f %8.0f %8.1f %8.1f\n", name, ms, t.mask.size(),
                Mean(t.mask), Part(t.mask, 0.5), Part(t.mask, 0.99), Part(t.mask, 1), Mean(t.next),
                Part(t.next, 0.99));
  };
  for (const Case& one : Cases()) {
    const auto start = Clock::now();
    auto automaton = grammar::Compile(grammar::WholeAnswer(one.kind, one.text));
    if (!automaton) return std::printf("%s: %s\n", one.name, automaton.error().message.c_str()), 1;
    const double compile = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
    grammar::Matcher matcher(*automaton, tokens);
    Rng rng(1);
    Times times;
    const auto until = Clock::now() + std::chrono::duration<double>(seconds);
    while (Clock::now() < until) Answer(matcher, *tokens, rng, times);
    all.mask.insert(all.mask.end(), times.mask.begin(), times.mask.end());
    all.next.insert(all.next.end(), times.next.begin(), times.next.end());
    print(one.name, compile, times);
  }
  print("all", 0, all);
  return 0;
}

}  // namespace
}  // namespace exo

int main(int argc, char** argv) {
  if (argc < 2) return std::printf("grammar_bench VOCABULARY.gguf [seconds]\n"), 2;
  return exo::Run(argv[1], argc > 2 ? std::atof(argv[2]) : 2);
}
