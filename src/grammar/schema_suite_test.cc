// The official JSON schema test suites (shared data): nothing that a schema forbids is accepted,
// and how much of what it allows.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>

#include "../tests/support/shared_data.h"
#include "grammar/grammar.h"
#include "grammar/schema_document.h"
#include "grammar/test_texts.h"

namespace exo::grammar {
namespace {

constexpr const char* kFolder = "data/json-schema";

std::string SharedFile(const std::string& name) {
  return exo::testing::ReadAll(exo::testing::SharedPath(std::string(kFolder) + "/" + name));
}

struct Tally {
  size_t schemas = 0, compiled = 0, valid = 0, accepted = 0, invalid = 0, wrong = 0;
  std::vector<double> milliseconds = {};
  double Part(double part) {
    std::ranges::sort(milliseconds);
    return milliseconds.empty()
               ? 0
               : milliseconds[static_cast<size_t>(part * double(milliseconds.size() - 1))];
  }
};

void RunGroup(const std::string& file, const nlohmann::ordered_json& group, Tally& tally) {
  ++tally.schemas;
  const auto start = std::chrono::steady_clock::now();
  const auto automaton = Compile(
      WholeAnswer(wire::GrammarKind::kJsonSchema, group["schema"].dump()), {.open_objects = true});
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  tally.milliseconds.push_back(took.count());
  if (std::getenv("EXO_SHOW") != nullptr)
    std::cout << file << ": " << group["description"] << " " << took.count() << " ms "
              << (automaton ? "" : automaton.error().message) << "\n";
  if (!automaton) {
    EXPECT_FALSE(automaton.error().message.empty());
    return;
  }
  ++tally.compiled;
  for (const auto& test : group["tests"]) {
    const std::string text = test["data"].dump();
    const bool accepted = Accepts(**automaton, text);
    if (test["valid"] == true) {
      ++tally.valid;
      tally.accepted += accepted;
      if (!accepted && std::getenv("EXO_SHOW") != nullptr)
        std::cout << "  not accepted: " << text << "\n";
    } else {
      ++tally.invalid;
      tally.wrong += accepted;
      EXPECT_FALSE(accepted) << file << ": " << group["description"] << ": " << test["description"]
                             << "\n"
                             << group["schema"] << "\n"
                             << text;
    }
  }
}

Tally RunSuite(const std::string& name) {
  Tally tally;
  const auto suite = nlohmann::ordered_json::parse(SharedFile(name), nullptr, false);
  for (const auto& [file, groups] : suite.items()) {
    for (const auto& group : groups) RunGroup(file, group, tally);
  }
  std::cout << name << ": " << tally.compiled << " of " << tally.schemas << " schemas compiled, "
            << tally.accepted << " of " << tally.valid << " valid accepted, " << tally.wrong
            << " of " << tally.invalid << " invalid accepted; compile p50 " << tally.Part(0.5)
            << " ms, p75 " << tally.Part(0.75) << " ms, worst " << tally.Part(1) << " ms\n";
  return tally;
}

TEST(SchemaSuiteTest, Draft2020AcceptsNothingInvalid) {
  EXO_NEED_SHARED(kFolder);
  const Tally tally = RunSuite("json-schema-test-suite-draft2020-12.json");
  EXPECT_EQ(tally.wrong, 0u);
  EXPECT_GE(tally.compiled, 200u);
}

TEST(SchemaSuiteTest, Draft7AcceptsNothingInvalid) {
  EXO_NEED_SHARED(kFolder);
  const Tally tally = RunSuite("json-schema-test-suite-draft7.json");
  EXPECT_EQ(tally.wrong, 0u);
  EXPECT_GE(tally.compiled, 144u);
}

// llama.cpp's own cases: what its grammars and schemas must accept and refuse.
TEST(SchemaSuiteTest, LlamaCppsCases) {
  EXO_NEED_SHARED(kFolder);
  const auto cases =
      nlohmann::ordered_json::parse(SharedFile("llamacpp-grammar-cases.json"), nullptr, false);
  size_t good = 0, accepted = 0;
  for (const auto& one : cases) {
    const bool schema = one["kind"] == "schema";
    const auto automaton =
        Compile(WholeAnswer(schema ? wire::GrammarKind::kJsonSchema : wire::GrammarKind::kGbnf,
                            (schema ? one["schema"] : one["grammar"]).get<std::string>()));
    ASSERT_TRUE(automaton) << one["name"] << automaton.error().message;
    for (const auto& text : one["passing"]) {
      ++good;
      accepted += Accepts(**automaton, text.get<std::string>());
      EXPECT_TRUE(Accepts(**automaton, text.get<std::string>())) << one["name"] << text;
    }
    for (const auto& text : one["failing"])
      EXPECT_FALSE(Accepts(**automaton, text.get<std::string>())) << one["name"] << text;
  }
  EXPECT_EQ(cases.size(), 30u);
  std::cout << accepted << " of " << good << " texts of llama.cpp's cases accepted\n";
  for (const char* name :
       {"arithmetic", "c", "chess", "english", "japanese", "json", "json_arr", "list"}) {
    const auto automaton = Compile(
        WholeAnswer(wire::GrammarKind::kGbnf, SharedFile(std::string("gbnf/") + name + ".gbnf")));
    EXPECT_TRUE(automaton) << name << ": " << automaton.error().message;
  }
}

// Random texts of every schema of the suites are JSON. With EXO_GRAMMAR_TEXTS many more are written
// to that file, for a validator of another make (tests/schema_texts_test.py).
TEST(SchemaSuiteTest, RandomTextsAreJson) {
  EXO_NEED_SHARED(kFolder);
  const char* path = std::getenv("EXO_GRAMMAR_TEXTS");
  const int draws = path == nullptr ? 4 : 60;
  std::ofstream out;
  if (path != nullptr) out.open(path);
  Rng rng(1);
  size_t texts = 0;
  for (const char* name :
       {"json-schema-test-suite-draft2020-12.json", "json-schema-test-suite-draft7.json"}) {
    const auto suite = nlohmann::ordered_json::parse(SharedFile(name), nullptr, false);
    for (const auto& [file, groups] : suite.items()) {
      for (const auto& group : groups) {
        const std::string schema = group["schema"].dump();
        const auto automaton = Compile(WholeAnswer(wire::GrammarKind::kJsonSchema, schema));
        if (!automaton) continue;
        for (int i = 0; i < draws; ++i) {
          const std::string text = RandomText(**automaton, rng, 600, 4);
          if (text.empty()) continue;
          EXPECT_TRUE(nlohmann::ordered_json::accept(text)) << schema << "\n" << text;
          out << nlohmann::ordered_json{{"suite", name},
                                        {"schema", group["schema"]},
                                        {"text", text}}
                     .dump()
              << "\n";
          ++texts;
        }
      }
    }
  }
  EXPECT_GT(texts, 170u * static_cast<size_t>(draws));
}

}  // namespace
}  // namespace exo::grammar
