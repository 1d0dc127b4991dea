#include "model/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "model/utf8.h"

namespace exo::model {
namespace {

// White space as the tokenizers' own regex engines have it. PCRE2's \s also holds U+180E.
#define EXO_SPACES \
  R"(\t-\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})"
#define EXO_GPT2                                                                                \
  R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^)" EXO_SPACES R"(\p{L}\p{N}]+|[)" EXO_SPACES \
  R"(]+(?![^)" EXO_SPACES R"(])|[)" EXO_SPACES R"(]+)"
#define EXO_LLAMA3(digits)                                                                    \
  R"('[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\n\p{L}\p{N}]?\p{L}+|)" digits \
  R"(| ?[^)" EXO_SPACES R"(\p{L}\p{N}]+[\r\n]*|[)" EXO_SPACES R"(]*[\r\n]+|[)" EXO_SPACES     \
  R"(]+(?![^)" EXO_SPACES R"(])|[)" EXO_SPACES R"(]+)"

// Expressions are applied one after the other, each to the pieces that the ones before left.
struct Rule {
  std::string_view name;
  std::array<const char*, 4> patterns;
};
constexpr std::array<Rule, 4> kRules = {{
    {"gpt-2", {EXO_GPT2}},
    {"llama-bpe", {EXO_LLAMA3(R"(\p{N}{1,3})")}},
    {"qwen2", {EXO_LLAMA3(R"(\p{N})")}},
    {"default", {R"([\p{P}\$\+<=>\^~\|]+)", EXO_GPT2, R"(\p{N}+)", "[0-9][0-9][0-9]"}},
}};

constexpr std::array<std::array<std::string_view, 2>, 8> kAliases = {{
    {"", "default"},
    {"llama3", "llama-bpe"},
    {"llama-v3", "llama-bpe"},
    {"smaug-bpe", "llama-bpe"},
    {"phi-2", "gpt-2"},
    {"gpt2", "gpt-2"},
    {"deepseek-r1-qwen", "qwen2"},
    {"megrez", "qwen2"},
}};

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeMatch {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
using Code = std::unique_ptr<pcre2_code, FreeCode>;

// Limits that no text of ours reaches: the patterns have no nested repeats, so the work of one
// match is linear in the length of its run.
pcre2_match_context* Unlimited() {
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  CHECK(context != nullptr);
  pcre2_set_match_limit(context, UINT32_MAX);
  pcre2_set_depth_limit(context, UINT32_MAX);
  pcre2_set_heap_limit(context, UINT32_MAX);
  return context;
}

// The next match at or after `from`; false: there is none. The compiled code has a stack of 32 KiB
// and the interpreter a limit of steps; where either is met, the interpreter goes on without
// limits.
bool FindNext(const pcre2_code* code, std::string_view text, size_t from, pcre2_match_data* match) {
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  int found = pcre2_match(code, subject, text.size(), from, PCRE2_NO_UTF_CHECK, match, nullptr);
  if (found < 0 && found != PCRE2_ERROR_NOMATCH) {
    pcre2_match_context* context = Unlimited();
    found = pcre2_match(code, subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, match,
                        context);
    pcre2_match_context_free(context);
  }
  // What is left is a lack of memory, which ends the program elsewhere too.
  CHECK(found >= 0 || found == PCRE2_ERROR_NOMATCH);
  return found >= 0;
}

Code Compile(const char* pattern) {
  int error = 0;
  PCRE2_SIZE at = 0;
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern), PCRE2_ZERO_TERMINATED,
                    PCRE2_UTF | PCRE2_UCP | PCRE2_NO_AUTO_CAPTURE, &error, &at, nullptr);
  CHECK(code != nullptr);
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // without JIT the same code is interpreted
  return Code(code);
}

class RegexPreTokenizer final : public PreTokenizer {
 public:
  explicit RegexPreTokenizer(const Rule& rule) {
    for (const char* pattern : rule.patterns) {
      if (pattern != nullptr) codes_.push_back(Compile(pattern));
    }
  }

  void Split(std::string_view text,
             const std::function<void(std::string_view)>& word) const override {
    for (size_t begin = 0; begin < text.size();) {
      const bool valid = Utf8Length(text, begin) != 0;
      size_t end = begin;
      while (end < text.size()) {
        const size_t length = Utf8Length(text, end);
        if ((length != 0) != valid) break;
        end += valid ? length : 1;
      }
      const std::string_view run = text.substr(begin, end - begin);
      if (valid) {
        SplitValid(run, 0, word);
      } else {
        word(run);
      }
      begin = end;
    }
  }

 private:
  // Matches of expression `index` and the gaps between them, each cut further by the next
  // expression.
  void SplitValid(std::string_view text, size_t index,
                  const std::function<void(std::string_view)>& word) const {
    if (index == codes_.size()) return word(text);
    const pcre2_code* code = codes_[index].get();
    const std::unique_ptr<pcre2_match_data, FreeMatch> match(pcre2_match_data_create(1, nullptr));
    CHECK(match != nullptr);
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(match.get());
    size_t done = 0;
    while (done < text.size()) {
      // The rest is one piece. (An empty match cannot be: no pattern has one.)
      if (!FindNext(code, text, done, match.get()) || bounds[1] <= bounds[0]) break;
      if (bounds[0] > done) SplitValid(text.substr(done, bounds[0] - done), index + 1, word);
      SplitValid(text.substr(bounds[0], bounds[1] - bounds[0]), index + 1, word);
      done = bounds[1];
    }
    if (done < text.size()) SplitValid(text.substr(done), index + 1, word);
  }

  std::vector<Code> codes_;
};

}  // namespace

Result<std::unique_ptr<const PreTokenizer>> PreTokenizer::Create(std::string_view name) {
  std::string_view wanted = name;
  for (const auto& [alias, rule] : kAliases) {
    if (alias == name) wanted = rule;
  }
  for (const Rule& rule : kRules) {
    if (rule.name == wanted) return std::make_unique<const RegexPreTokenizer>(rule);
  }
  return Fail(ErrorCode::kUnsupported,
              "the pre-tokenizer '{}' (this build has llama-bpe, qwen2, gpt-2 and default)", name);
}

}  // namespace exo::model
