// From the steps of a tokenizer.json's pre-tokenizer to the name that GGUF has for them.
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <vector>

#include "checkpoint/tokenizer_config.h"
#include "checkpoint/tokenizer_steps.h"

namespace exo::checkpoint {
namespace {

// Expressions of published tokenizers, as they stand in the files.
#define EXO_FILE_ENDS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define EXO_FILE_SPACES R"(|\s*[\r\n]+|\s+(?!\S)|\s+)"
#define EXO_FILE_WORDS(digits)                         \
  EXO_FILE_ENDS R"(|[^\r\n\p{L}\p{N}]?\p{L}+|)" digits \
                R"(| ?[^\s\p{L}\p{N}]+[\r\n]*)" EXO_FILE_SPACES
#define EXO_FILE_CASES(ends)                                                             \
  R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)" ends \
  R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)" ends
#define EXO_FILE_SLASHES R"(| ?[^\s\p{L}\p{N}]+[\r\n/]*)" EXO_FILE_SPACES

struct Known {
  std::array<std::string_view, 4> steps;
  std::string_view name;
  std::string_view whole_name = name;  // where a word that is a token needs no merges
};
constexpr std::array kKnown = std::to_array<Known>({
    {.steps = {"bytes by words"}, .name = "gpt-2"},
    {.steps = {"single digits", "bytes by words"}, .name = "smollm"},
    {.steps = {"punctuation", "bytes by words", "digits", "[0-9][0-9][0-9]"}, .name = "falcon"},
    {.steps = {EXO_FILE_WORDS(R"(\p{N}{1,3})")}, .name = "dbrx", .whole_name = "llama-bpe"},
    {.steps = {EXO_FILE_WORDS(R"(\p{N})")}, .name = "qwen2"},
    {.steps = {EXO_FILE_ENDS R"(|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N})"
                             R"(| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*)" EXO_FILE_SPACES},
     .name = "qwen35"},
    {.steps = {EXO_FILE_CASES("") R"(|\p{N})" EXO_FILE_SLASHES}, .name = "tekken"},
    {.steps = {EXO_FILE_CASES(EXO_FILE_ENDS "?") R"(|\p{N}{1,3})" EXO_FILE_SLASHES},
     .name = "gpt-4o"},
});

// What one step is called above; empty: nothing that changes words. Split keeps its expression.
Result<std::string> StepOf(const Fields& step) {
  const std::string type = TRY(step.Text("type"));
  if (type == "ByteLevel") {
    return std::string(TRY(step.Bool("use_regex", true)) ? "bytes by words" : "");
  }
  if (type == "Digits")
    return std::string(TRY(step.Bool("individual_digits", false)) ? "single digits" : "digits");
  if (type == "Punctuation" &&
      TRY(step.Text("behavior", std::string("Isolated"))) == "Contiguous") {
    return std::string("punctuation");
  }
  if (type == "Split" && TRY(step.Text("behavior", std::string("Isolated"))) == "Isolated") {
    if (const auto pattern = TRY(step.Object("pattern"))) {
      return pattern->Text("Regex", TRY(pattern->Text("String", std::string())));
    }
  }
  return "a step of the kind " + type;
}

}  // namespace

Result<std::string_view> PreTokenizerNameOf(const Fields& tokenizer, bool whole_words) {
  std::vector<std::string> steps;
  for (const Fields& step : TRY(StepsOf(tokenizer, "pre_tokenizer"))) {
    std::string name = TRY(StepOf(step));
    if (!name.empty()) steps.push_back(std::move(name));
  }
  for (const Known& known : kKnown) {
    const auto end = std::ranges::find(known.steps, std::string_view());
    if (std::ranges::equal(known.steps.begin(), end, steps.begin(), steps.end()))
      return whole_words ? known.whole_name : known.name;
  }
  return Fail(ErrorCode::kUnsupported,
              "{}: this build does not know these steps before merging: {}; take a GGUF file of "
              "the model",
              tokenizer.document(), fmt::join(steps, "; "));
}

}  // namespace exo::checkpoint
